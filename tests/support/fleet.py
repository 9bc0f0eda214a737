"""Several worker processes on one scoreboard that hand connections to each other, without a parent.

`fleet(count)` makes what a parent makes: listening sockets, a scoreboard, an inbox per slot. Every worker is a real
process (`tests/engine/served/worker.py`) with an engine; the test plays the parent and the clients. Knows nothing of
how workers decide.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.kernel import wait_until
from swell._core import Scoreboard

__all__ = ["Client", "Fleet", "Worker", "fleet", "ratio"]

SCRIPT = Path(__file__).parents[1] / "engine" / "served" / "worker.py"
PATIENCE = 20.0


class Client:
    """One connection with a blocking request."""

    def __init__(self, address: Any) -> None:
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self._input = b""

    def send(self, target: str = "/") -> None:
        self.socket.sendall(f"GET {target} HTTP/1.1\r\nhost: test\r\n\r\n".encode())

    def answer(self) -> dict[str, Any]:
        """What the worker that serves this connection says about it. `EOFError`: nobody does."""
        while b"}" not in self._input:
            received = self.socket.recv(65_536)
            if not received:
                raise EOFError(self._input)
            self._input += received
        head, _, body = self._input.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        self._input = b""
        answer: dict[str, Any] = json.loads(body)
        return answer

    def get(self, target: str = "/") -> dict[str, Any]:
        self.send(target)
        return self.answer()

    def close(self) -> None:
        self.socket.close()


class Worker:
    """A worker process and its slot."""

    def __init__(self, fleet: Fleet, slot: int, accept: Sequence[int], options: dict[str, Any]) -> None:
        self.slot = slot
        listeners = [listener.fileno() for listener in fleet.listeners]
        inboxes = [(receiver.fileno(), sender.fileno()) for receiver, sender in fleet.inboxes]
        given = {
            "board": fleet.board.path,
            "slot": slot,
            "listeners": listeners,
            "accept": list(accept),
            "inboxes": inboxes,
            "options": options,
        }
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[*listeners, *(fd for pair in inboxes for fd in pair)],
        )
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(json.loads(line))
                self._changed.notify_all()

    def wait_for(self, key: str) -> dict[str, Any]:
        """The first unread line with this key, which is read with all before it."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            for at, line in enumerate(self.lines):
                if key in line:
                    found.append(line)
                    self.lines[at] = {}
                    return True
            return False

        with self._changed:
            assert self._changed.wait_for(look, PATIENCE), f"worker {self.slot} never said {key!r}: {self.lines}"
        return found[0]

    def tell(self, do: str, answer: str = "done", **more: Any) -> dict[str, Any]:
        """A command, and its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()
        return self.wait_for(answer)

    @property
    def reports(self) -> list[str]:
        return [line["text"] for line in self.lines if "text" in line]

    def end(self) -> None:
        """Ends the process by its standard input, as a worker ends with its parent."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(PATIENCE)
            assert self.process.stdout is not None
            self.process.stdout.close()


class Fleet:
    """The workers, and what belongs to their parent."""

    def __init__(self, directory: Path, slots: int, listeners: list[socket.socket]) -> None:
        self.listeners = listeners
        self.board = Scoreboard.create(str(directory / "board"), slots)
        self.inboxes = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(slots)]
        self.workers: dict[int, Worker] = {}
        self._clients: list[Client] = []

    def start(self, slot: int, accept: Sequence[int], **options: Any) -> None:
        """Starts a worker; `wait_ready` waits for it."""
        self.board.reset(slot, slot, 1)
        self.workers[slot] = Worker(self, slot, accept, options)

    def wait_ready(self, *slots: int) -> None:
        for slot in slots or list(self.workers):
            self.workers[slot].wait_for("ready")
            self.board.set_state(slot, "ready")

    def read(self, name: str) -> list[int]:
        """One number of every worker."""
        return [self.board.read(slot)[name] for slot in self.workers]

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what, PATIENCE)

    def wait_quiet(self, open_connections: int) -> list[int]:
        """Until all connections have arrived somewhere; how many each worker has."""
        self.wait(
            lambda: sum(self.read("connections")) == open_connections and sum(self.read("incoming")) == 0,
            f"{open_connections} connections open, none on its way",
        )
        return self.read("connections")

    def address(self, listener: int = 0) -> Any:
        """Where clients reach this listener."""
        address = self.listeners[listener].getsockname()
        return ("127.0.0.1", address[1]) if isinstance(address, tuple) else address

    def connect(self, listener: int = 0) -> Client:
        """A connection, closed with the fleet at the latest."""
        client = Client(self.address(listener))
        self._clients.append(client)
        return client

    def at_once(self, count: int) -> tuple[list[Client], Counter[int]]:
        """So many connections opened as fast as one process can, each with a request; who has answered how many."""
        clients = []
        for _ in range(count):
            clients.append(self.connect())
            clients[-1].send()
        return clients, Counter(client.answer()["slot"] for client in clients)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for worker in self.workers.values():
            worker.end()
        for each in (*self.listeners, *(end for pair in self.inboxes for end in pair)):
            each.close()


@contextmanager
def fleet(directory: Path, count: int, listeners: list[socket.socket], **options: Any) -> Iterator[Fleet]:
    """`count` ready workers. Worker n accepts from listener n, if there are so many; else worker 0 from all."""
    made = Fleet(directory, count, listeners)
    try:
        for slot in range(count):
            everything = list(range(len(listeners))) if slot == 0 else []
            made.start(slot, [slot] if len(listeners) >= count else everything, **options)
        made.wait_ready()
        yield made
    finally:
        made.close()


def ratio(counts: Sequence[int]) -> float:
    """Busiest to idlest."""
    return max(counts) / max(min(counts), 0.001)
