"""A server that loses requests on purpose, one way per instance: what the steady load has to notice.

A thread per connection on plain sockets. It serves right until its `Fault` is due: every `every`-th request.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.frames import ACCEPT

PID, GENERATION = 4711, 1


class Fault(enum.Enum):
    NONE = enum.auto()
    DROP = enum.auto()  # reads the request and closes
    RESET = enum.auto()  # reads the request and resets
    UNREAD = enum.auto()  # closes a kept connection with the next request unread
    UNREAD_ALWAYS = enum.auto()  # closes every connection with the request unread
    IDLE = enum.auto()  # closes a kept connection behind an answer
    TRUNCATE = enum.auto()  # half an answer
    WRONG = enum.auto()  # somebody else's answer
    STATUS = enum.auto()  # 503
    SILENT = enum.auto()  # no answer ever
    REFUSE = enum.auto()  # closes the listening socket
    GO_AWAY = enum.auto()  # WebSocket: close 1012 instead of the echo
    VANISH = enum.auto()  # WebSocket: end without a close frame


class Crooked:
    """One such server."""

    def __init__(self, fault: Fault, every: int) -> None:
        self.fault = fault
        self.every = every
        self.faults = 0
        self._requests = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return host, port

    def close(self) -> None:
        self._stop_listening()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _stop_listening(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with self._lock:
                    self._open.add(sock)
                self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            file = sock.makefile("rb")
            answered = 0
            while self._serve_one(sock, file, answered):
                answered += 1
        with self._lock:
            self._open.discard(sock)

    def _due(self) -> bool:
        with self._lock:
            self._requests += 1
            due = self.fault is not Fault.UNREAD and self._requests % self.every == 0
            self.faults += due
        return due

    def _serve_one(self, sock: socket.socket, file: object, answered: int) -> bool:
        """True while the connection goes on."""
        if self.fault is Fault.UNREAD_ALWAYS or (self.fault is Fault.UNREAD and answered == 5):
            came = len(sock.recv(1, socket.MSG_PEEK))  # it is there, and is not read
            with self._lock:
                self.faults += came
            return False
        read = file.readline  # type: ignore[attr-defined]
        line: bytes = read()
        head = b""
        while len(field := read()) > 2:
            head += field
        if not line:
            return False
        name = line.split()[1].rpartition(b"/")[2]
        if b"websocket" in head:
            return self._talk(sock, file)
        due = self._due()
        match self.fault if due else Fault.NONE:
            case Fault.DROP:
                return False
            case Fault.RESET:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                return False
            case Fault.STATUS:
                sock.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
                return True
            case Fault.SILENT:
                sock.recv(1)
                return False
            case Fault.WRONG:
                name = b"999999"
            case Fault.REFUSE:
                self._stop_listening()
        body = b"%s %d %d" % (name, PID, GENERATION)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        sock.sendall(answer[:-3] if due and self.fault is Fault.TRUNCATE else answer)
        return not (due and self.fault in (Fault.TRUNCATE, Fault.IDLE)) and b"close" not in head

    def _talk(self, sock: socket.socket, file: object) -> bool:
        read = file.read  # type: ignore[attr-defined]
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %s\r\n\r\n" % ACCEPT)
        while len(start := read(2)) == 2:
            mask, masked = read(4), read(start[1] & 0x7F)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
            if start[0] & 0xF == 8:
                sock.sendall(bytes([0x88, len(text)]) + text)
                return False
            due = self._due()
            if due and self.fault is Fault.VANISH:
                return False
            if due and self.fault is Fault.GO_AWAY:
                sock.sendall(b"\x88\x02" + (1012).to_bytes(2, "big"))
                read(8)  # the client's close frame
                return False
            echo = b"%s %d %d" % (text, PID, GENERATION)
            sock.sendall(bytes([0x81, len(echo)]) + echo)
        return False


@contextmanager
def crooked(fault: Fault, every: int = 20) -> Iterator[Crooked]:
    server = Crooked(fault, every)
    try:
        yield server
    finally:
        server.close()
