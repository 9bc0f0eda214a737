"""The ASGI contract, seen by the application and by the client at the same time."""
