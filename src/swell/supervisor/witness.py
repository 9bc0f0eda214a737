"""What a process can be made to tell while it does not listen: its stacks, and whether its interpreter still runs.

`Stacks` is a file that a process writes its stacks into on a signal or when it crashes, below the interpreter.
`Witness` adds the probe, a thread of a worker that answers if it can have the GIL. Used by the parent's watchdog.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from socket import socket
from typing import Any

import swell
from swell.worker.channel import Channel, Message
from swell.worker.lifespan import TASK_NAME
from swell.worker.process import DUMP_SIGNAL

__all__ = ["Answer", "Stacks", "Unanswered", "Witness", "indented"]

# A dump is complete when the file has not grown for this long; seconds.
DUMP_PAUSE, DUMP_SECONDS = 0.05, 1.0
STACKS_AT_MOST = 24_000
# As faulthandler writes them: frames of Swell and of the machinery around an application; threads of which nothing is
# left then.
_OURS = re.escape(os.path.dirname(swell.__file__) + os.sep)
_AROUND = rf"<frozen |{_OURS}|.*/asyncio/(?:runners|base_events|events)\.py|.*/importlib/__init__\.py"
_MACHINERY = re.compile(rf'^  File "(?:{_AROUND}).*\n|^  File ".*/threading\.py", line \d+ in (?:run|_boot.*)\n', re.M)
_NOTHING_LEFT = re.compile(r"^(?:Current thread|Thread) .*:\n(?!  File)\n?", re.M)
_MODULES = re.compile(r"^Extension modules: .*\n?", re.M)


class Stacks:
    """The file. Our descriptor and the process's share one position in it, so that it can be emptied from here."""

    def __init__(self) -> None:
        self._file = _file("swell stacks")

    def fileno(self) -> int:
        return self._file

    def read(self, *, everything: bool = False) -> str:
        """What is in the file: the application's part of the stacks, the innermost frame first; or all of it."""
        if self._file < 0:
            return ""
        text = os.pread(self._file, STACKS_AT_MOST * (40 if everything else 1), 0).decode("utf-8", "replace")
        if everything:
            return text.rstrip()
        for noise in (_MACHINERY, _NOTHING_LEFT, _MODULES):
            text = noise.sub("", text)
        return text.rstrip()

    async def dump(self, pid: int, *, everything: bool = False) -> str:
        """Has the process write its stacks. Empty when it does not, because it is stopped, say."""
        if self._file < 0:
            return ""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, DUMP_SIGNAL)
        size, waited = 0, 0.0
        while waited < DUMP_SECONDS:
            await asyncio.sleep(DUMP_PAUSE)
            waited += DUMP_PAUSE
            if self._file < 0:
                break
            before, size = size, os.fstat(self._file).st_size
            if size == before != 0:
                break
        return self.read(everything=everything)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _file(name: str) -> int:
    """A file without a place, to be shared with another process."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Unanswered(Exception):  # noqa: N818 - it says what happened
    """A worker could not do what it was asked for. The text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the probe says. `stack` is that of the loop's thread, `threads` are the others', `lifespan` is where the
    application's startup waits; each is text as Python prints it, the innermost frame last."""

    task: str
    request: str
    stack: str
    threads: str
    lifespan: str

    def told(self, *, starting: bool = False) -> str:
        """Where it hangs, as lines below a log entry."""
        if starting and self.lifespan and self.task != TASK_NAME:
            return f"  the application's lifespan waits:\n{indented(self.lifespan)}"
        return f"  stack of the event loop's thread:\n{indented(self.stack + self.threads)}"


class Witness:
    """The parent's ends of one worker's probe and stacks."""

    def __init__(self, probe: Channel) -> None:
        self.stacks = Stacks()
        self._probe = probe
        self._asked = 0
        self._answer: asyncio.Future[Answer] | None = None
        self._documents: dict[int, asyncio.Future[str]] = {}

    @classmethod
    def made(cls) -> tuple[Witness, socket]:
        """One, and the end that the worker's probe is given."""
        probe, end = Channel.pair()
        try:
            return cls(probe), end
        except OSError:
            probe.close()
            end.close()
            raise

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._probe.watch(loop, self._heard, lambda: None)

    async def ask(self, seconds: float) -> Answer | None:
        """How things are right now; None when no answer comes in time."""
        self._asked += 1
        self._answer = asyncio.get_running_loop().create_future()
        if not self._probe.send({"do": "probe", "id": self._asked}):
            return None
        try:
            async with asyncio.timeout(seconds):
                return await self._answer
        except TimeoutError:
            return None

    async def document(self, patience: float, what: str, **more: Any) -> dict[str, Any] | None:
        """The answer to one of the probe's longer questions; None when none comes in time. `Unanswered`: the worker
        has failed to give it."""
        self._asked += 1
        number, file = self._asked, _file("swell answer")
        written = self._documents[number] = asyncio.get_running_loop().create_future()
        try:
            if not self._probe.send({"do": what, "id": number, **more}, (file,)):
                return None
            async with asyncio.timeout(patience):
                error = await written
            if error:
                raise Unanswered(error)
            found: dict[str, Any] = json.loads(os.pread(file, os.fstat(file).st_size, 0))
            return found
        except TimeoutError:
            return None
        except asyncio.CancelledError:
            self._probe.send({"do": "enough", "id": number})
            raise
        finally:
            del self._documents[number]
            os.close(file)

    def _heard(self, message: Message) -> None:
        if message["is"] == "written":
            written = self._documents.get(message["id"])
            if written is not None and not written.done():
                written.set_result(message["error"])
            return
        if message["id"] == self._asked and self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(**{name: message[name] for name in Answer.__slots__}))

    def close(self) -> None:
        for written in self._documents.values():
            if not written.done():
                written.set_result("the worker has ended")
        self._probe.close()
        self.stacks.close()


def indented(text: str) -> str:
    """As lines below a log entry."""
    return "\n".join(f"  {line}" if line else "" for line in text.rstrip().splitlines())
