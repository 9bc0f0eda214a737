"""WSGI applications (PEP 3333) on ASGI: each request in a thread of a bounded pool.

a2wsgi makes the environ; calling the application is done here, so that a `start_response` can be taken back until the
first byte is sent, a peer that has left frees its thread, and a broken upload is an error instead of an end of the
body. Knows nothing of sockets. Made by `application.load_application`, closed by the server.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import io
import sys
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from swell.errors import AppLoadError
from swell.worker.asgi import Message, Receive, Scope, Send

__all__ = ["WsgiBridge"]

WsgiApplication = Callable[..., Iterable[bytes]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

# Whole pieces of the body are taken from the loop; small reads are served from this many buffered bytes.
READ_BUFFER = 64 * 1024


class WsgiBridge:
    """The ASGI application. At most `threads` requests are in the WSGI application; the others wait for a thread."""

    def __init__(self, application: WsgiApplication, threads: int) -> None:
        try:
            from a2wsgi.wsgi import build_environ
        except ImportError:
            raise AppLoadError("WSGI applications need a2wsgi: pip install 'swell[wsgi]'") from None
        self.application = application
        self.environ: Callable[[Any, Any], Any] = build_environ
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="swell wsgi")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Call(self, receive, send).run(scope)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise RuntimeError(f"WSGI applications have no {scope['type']}")

    def close(self) -> None:
        """Lets the threads end. Requests that wait for one are dropped."""
        self.pool.shutdown(wait=False, cancel_futures=True)


class _Call:
    """One request. `run` is the loop's side; all else runs in the request's thread."""

    def __init__(self, bridge: WsgiBridge, receive: Receive, send: Send) -> None:
        self._bridge = bridge
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._start: Message | None = None
        self._head_sent = False
        self._waiting: concurrent.futures.Future[Any] | None = None
        self._over = False

    async def run(self, scope: Scope) -> None:
        # X_Forwarded_For and X-Forwarded-For would become the same variable: only the second is a field of HTTP's own
        # making, the first would slip past whoever checked that one.
        fields = [field for field in scope["headers"] if b"_" not in field[0]]
        body = io.BufferedReader(_Body(self._receive, self._on_loop), READ_BUFFER)
        environ = self._bridge.environ({**scope, "headers": fields}, body)
        cookies = [value for name, value in fields if name == b"cookie"]
        if len(cookies) > 1:
            environ["HTTP_COOKIE"] = b"; ".join(cookies).decode("latin-1")
        environ.update({"wsgi.errors": sys.stderr, "wsgi.multiprocess": False, "wsgi.input_terminated": True})
        call = functools.partial(contextvars.copy_context().run, self._call, environ)
        try:
            last = await self._loop.run_in_executor(self._bridge.pool, call)
        finally:
            # A cancelled request: its thread is to notice at its next word to us, or in the one it waits on.
            self._over = True
            if self._waiting is not None:
                self._waiting.cancel()
        for message in self._messages(last, more=False):
            await self._send(message)

    def _call(self, environ: dict[str, Any]) -> bytes:
        """Calls the application and sends all but the end of the response, which it returns."""
        chunks = self._bridge.application(environ, self._start_response)
        try:
            if isinstance(chunks, (list, tuple)) and len(chunks) == 1:
                last: bytes = chunks[0]
            else:
                last = b""
                for chunk in chunks:
                    if chunk:
                        self._write(chunk)
            if self._start is None:
                raise RuntimeError("the WSGI application returned without calling start_response")
            return last
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        try:
            if self._head_sent and exc_info is not None:
                raise exc_info[1].with_traceback(exc_info[2])
            if self._start is not None and exc_info is None:
                raise RuntimeError("start_response was called twice without exc_info (PEP 3333)")
        finally:
            exc_info = None  # it refers to this very frame
        fields = [(name.encode("latin-1").lower(), value.encode("latin-1")) for name, value in headers]
        self._start = {"type": "http.response.start", "status": int(status.split(" ", 1)[0]), "headers": fields}
        return self._write

    def _write(self, chunk: bytes) -> None:
        self._on_loop(self._send_all(self._messages(chunk, more=True)))

    def _messages(self, chunk: bytes, *, more: bool) -> list[Message]:
        if self._start is None:
            raise RuntimeError("the WSGI application sent a body before it called start_response")
        messages: list[Message] = [] if self._head_sent else [self._start]
        self._head_sent = True
        return [*messages, {"type": "http.response.body", "body": chunk, "more_body": more}]

    async def _send_all(self, messages: list[Message]) -> None:
        for message in messages:
            await self._send(message)

    def _on_loop(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Has the loop do a step and waits for it. Fails once the request is over."""
        try:
            self._waiting = asyncio.run_coroutine_threadsafe(step, self._loop)
        except RuntimeError:  # the loop is closed
            step.close()
            raise
        if self._over:
            self._waiting.cancel()
        try:
            return self._waiting.result()
        except concurrent.futures.CancelledError:
            raise ConnectionAbortedError("the request was cancelled") from None
        finally:
            self._waiting = None


class _Body(io.RawIOBase):
    """`wsgi.input`: blocks the thread until the loop has the next piece."""

    def __init__(self, receive: Receive, on_loop: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._receive = receive
        self._on_loop = on_loop
        self._piece = memoryview(b"")
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece and self._more:
            message = self._on_loop(self._next())
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client left before it had sent the whole body")
            self._piece = memoryview(message.get("body", b""))
            self._more = message.get("more_body", False)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    async def _next(self) -> Message:
        return await self._receive()
