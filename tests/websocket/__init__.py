"""WebSockets through a running server: RFC 6455, RFC 7692, ASGI WebSocket 2.5."""
