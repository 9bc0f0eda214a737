"""`swell.run`: programs that serve by themselves, with a parent where there can be one."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.server import ServerProcess
from worker.launching import launched, wait_listening

from supervisor.upgrading import alive, tree, until

# Each part of a program that must happen once, in the process that was started, says so with its pid.
PROGRAM = """
import asyncio, atexit, os, signal, sys, threading
import swell
{before}

state = {{"requests": 0}}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({{"type": message["type"] + ".complete"}})
            if message["type"] == "lifespan.shutdown":
                return
    state["requests"] += 1
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": f"{version} {{os.getpid()}}".encode()}})

if __name__ == "__main__":
    print("unflushed")
    atexit.register(lambda: print("at exit in", os.getpid(), flush=True))
    try:
        {call}
    finally:
        print("finally in", os.getpid(), flush=True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    print("after run in", os.getpid(), "requests", state["requests"], flush=True)
"""
OBJECT = 'swell.run(app, port=0, runtime_dir="run", workers={workers}, access_log=False)'
STRING = 'swell.run("program:app", port=0, runtime_dir="run", workers={workers}, access_log=False)'


def write(directory: Path, call: str, *, before: str = "", version: str = "one", workers: int = 1) -> None:
    text = PROGRAM.format(call=call.format(workers=workers), before=before, version=version)
    (directory / "program.py").write_text(text)


@contextmanager
def running(directory: Path, call: str, *, before: str = "", workers: int = 1) -> Iterator[ServerProcess]:
    write(directory, call, before=before, workers=workers)
    # Its output is buffered, as it is by default: what waits in a buffer must not be written twice.
    environment = {"PYTHONUNBUFFERED": ""}
    with launched(command=("program.py",), directory=directory, environment=environment, new_group=True) as server:
        server.port = wait_listening(server)
        yield server


def ask(server: ServerProcess) -> tuple[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=20) as response:
        version, pid = response.read().decode().split()
        return version, int(pid)


def end(server: ServerProcess) -> None:
    everybody = tree(server.pid)
    server.process.send_signal(signal.SIGTERM)
    assert server.wait_for_end() == 0, server.log
    assert not any(map(alive, everybody))
    assert "Traceback" not in server.log, server.log


def pids(server: ServerProcess, said: str) -> list[int]:
    return [int(pid) for pid in re.findall(rf"^{said} (\d+)", server.log, re.M)]


@pytest.mark.parametrize("call", [OBJECT, STRING], ids=["an object", "an import string"])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_application_runs_in_workers_and_the_program_only_in_its_own_process(
    tmp_path: Path, call: str, workers: int
) -> None:
    with running(tmp_path, call, workers=workers) as server:
        until(lambda: server.log.count("is ready after") == workers, "all workers are ready")
        seen = {ask(server)[1] for _ in range(20)}
        assert server.pid not in seen
        assert len(tree(server.pid)) == workers + 1  # and the template
        end(server)
        assert server.log.count("unflushed") == 1
        assert pids(server, "after run in") == [server.pid]
        assert pids(server, "finally in") == [server.pid]
        assert pids(server, "at exit in") == [server.pid]
        assert "requests 0" in server.log


def test_a_dead_worker_of_an_object_is_replaced_and_a_reload_refused(tmp_path: Path) -> None:
    with running(tmp_path, OBJECT) as server:
        mark = server.mark()
        os.kill(ask(server)[1], signal.SIGKILL)
        server.wait_for_log("is ready after", since=mark)
        ask(server)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("the application was given as an object, which cannot be imported anew", since=mark)
        ask(server)
        end(server)
        assert pids(server, "at exit in") == [server.pid]


def test_an_import_string_can_be_reloaded(tmp_path: Path) -> None:
    with running(tmp_path, STRING) as server:
        assert ask(server)[0] == "one"
        write(tmp_path, STRING, version="two")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("reloaded: generation 2")
        assert ask(server)[0] == "two"
        end(server)


@pytest.mark.parametrize("call", [OBJECT, STRING], ids=["an object", "an import string"])
def test_an_upgrade_runs_the_program_anew_and_the_old_one_waits_for_it(tmp_path: Path, call: str) -> None:
    with running(tmp_path, call) as server:
        parents = []
        for version in ("two", "three"):
            write(tmp_path, call, version=version)
            mark = server.mark()
            server.process.send_signal(signal.SIGUSR2)
            parents.append(int(server.wait_for_log(r"pid (\d+) serves now", since=mark)[1]))
            # Until it hears of it, a worker of the old one may take a connection.
            until(lambda: ask(server)[0] == version, "the new code answers")  # noqa: B023
        until(lambda: not alive(parents[0]), "the end of the second")
        end(server)
        # Each of the three processes has come to the end of its program, the first one last.
        assert sorted(pids(server, "after run in")) == sorted([server.pid, *parents])
        assert pids(server, "after run in")[-1] == server.pid


def test_an_object_whose_workers_cannot_be_replaced_any_more_ends_with_an_error(tmp_path: Path) -> None:
    with running(tmp_path, OBJECT) as server:
        worker = ask(server)[1]
        (template,) = (pid for pid in tree(server.pid) if pid != worker)
        os.kill(template, signal.SIGKILL)
        until(lambda: not alive(template), "its end")
        assert ask(server)[1] == worker
        os.kill(worker, signal.SIGKILL)
        assert server.wait_for_end() == 1
        assert "the process that workers are forked from has died, and only a restart brings it back" in server.log
        assert pids(server, "finally in") == [server.pid]


IN_A_THREAD = """
def serve(**options):
    thread = threading.Thread(target=lambda: swell.run(app, port=0, access_log=False, **options))
    thread.start()
    thread.join()
"""
BESIDE_A_THREAD = """
done = threading.Event()
if __name__ == "__main__":
    threading.Thread(target=done.wait).start()

def serve(**options):
    try:
        swell.run(app, port=0, access_log=False, **options)
    finally:
        done.set()
"""


def test_beside_other_threads_the_program_serves_itself(tmp_path: Path) -> None:
    with running(tmp_path, "serve()", before=BESIDE_A_THREAD) as server:
        assert ask(server)[1] == server.pid
        assert tree(server.pid) == []
        end(server)
        assert "requests 1" in server.log


@pytest.mark.parametrize(
    ("before", "call", "reason"),
    [
        (BESIDE_A_THREAD, "serve(workers=2)", "workers=2: the application is given as an object, and a process with"),
        (IN_A_THREAD, "serve(workers=2)", "workers=2: swell.run() was called outside of the main thread, where no"),
        ("", "asyncio.run(served())", "use swell.Server"),
        ("", 'swell.run("unguarded:app", port=0)', 'put it under `if __name__ == "__main__":`'),
    ],
)
def test_what_cannot_be_says_why(tmp_path: Path, before: str, call: str, reason: str) -> None:
    coroutine = "async def served():\n    swell.run(app, port=0)\n"
    write(tmp_path, call, before=before + coroutine)
    (tmp_path / "unguarded.py").write_text("import swell\napp = None\nswell.run('unguarded:app', port=0)\n")
    with launched(command=("program.py",), directory=tmp_path) as server:
        server.wait_for_end()
        assert reason in server.log
        assert "listening on" not in server.log


def test_an_import_string_beside_threads_has_a_parent_all_the_same(tmp_path: Path) -> None:
    before = BESIDE_A_THREAD.replace("swell.run(app,", 'swell.run("program:app",')
    with running(tmp_path, "serve(workers=2)", before=before) as server:
        assert ask(server)[1] != server.pid
        end(server)
