"""The commands to a running instance, as processes of their own against a real control socket."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.instance import SECONDS, Running, process, running, worker

from swell.cli import main
from swell.supervisor.control.protocol import CommandFailed

COMMANDS = ("status", "scale", "reload", "restart", "drain", "stop", "explain")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Instances of this test only; no file and no variable of the surroundings."""
    for name in [name for name in os.environ if name.startswith("SWELL_")]:
        monkeypatch.delenv(name)
    place = tmp_path / "empty"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("SWELL_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as instance:
        yield instance


def swell(line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "swell", *line.split()],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, **environ},
    )


def on_terminal(line: str, term: str, until: Callable[[str], bool] | None = None) -> tuple[int, str]:
    """The exit code and what somebody at a terminal of 80 columns sees. Ctrl-C once `until` holds."""
    primary, secondary = pty.openpty()
    environ = {**os.environ, "TERM": term, "COLUMNS": "80"}
    child = subprocess.Popen(
        [sys.executable, "-m", "swell", *line.split()], stdout=secondary, stderr=secondary, env=environ
    )
    os.close(secondary)
    seen = b""
    end = time.monotonic() + SECONDS
    try:
        while select.select([primary], [], [], max(0.0, end - time.monotonic()))[0]:
            try:
                part = os.read(primary, 4096)
            except OSError:  # the other side is closed
                part = b""
            if not part:
                return child.wait(SECONDS), seen.decode()
            seen += part
            if until is not None and until(seen.decode(errors="replace")):
                child.send_signal(signal.SIGINT)
                until = None
        raise AssertionError(f"no end in time: {seen!r}")
    finally:
        child.kill()
        child.wait(SECONDS)
        os.close(primary)


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("scale 4", ("scale", 4, 4, None)),
        ("scale 1..8", ("scale", 1, 8, None)),
        ("scale 0..2", ("scale", 0, 2, None)),
        ("scale +1", ("scale", None, None, 3)),
        ("scale -1", ("scale", None, None, 1)),
        ("reload", ("reload",)),
        ("restart --worker 2", ("restart", 2)),
        ("restart --worker=2", ("restart", 2)),
    ],
)
def test_commands_tell_the_instance_and_print_its_sentence(one: Running, line: str, call: tuple[object, ...]) -> None:
    done = swell(line)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(str(call[0]))
    assert one.instance.calls == [call]
    assert json.loads(swell(f"{line} --json").stdout)["text"].startswith(str(call[0]))


@pytest.mark.parametrize(
    ("line", "call"), [("stop", ("stop", False)), ("stop --now", ("stop", True)), ("drain", ("drain",))]
)
def test_the_end_is_told_and_waited_for(one: Running, line: str, call: tuple[object, ...]) -> None:
    done = swell(line)
    assert (done.returncode, done.stdout, done.stderr) == (0, "main-8000 has ended\n", "")
    assert one.instance.calls == [call]
    assert not one.directory.path.exists()
    assert swell(line).returncode == 1


def test_stop_returns_when_the_process_has_ended(tmp_path: Path) -> None:
    with process(tmp_path, "main") as child:
        assert swell("stop").returncode == 0
        assert child.poll() == 0


@pytest.mark.parametrize("command", [*COMMANDS])
def test_without_an_instance_they_say_how_to_start_one(command: str, tmp_path: Path) -> None:
    words = {"scale": "scale 2", "restart": "restart --worker 1"}.get(command, command)
    done = swell(words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"swell: no instance is running (looked in {tmp_path}): start one with `swell serve MODULE:ATTRIBUTE`,"
        " or say where it is with --runtime-dir or --control\n"
    )


def test_which_instance_is_meant(one: Running, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    with running(tmp_path, "shop", str(elsewhere)) as shop:
        done = swell("reload")
        assert done.returncode == 1
        assert done.stderr == ("swell: 2 instances are running, say which one: --name with one of main-8000, shop\n")
        for line, environ in (
            ("reload --name shop", {}),
            ("reload --name=shop", {"SWELL_NAME": "blog"}),
            (f"reload --control {elsewhere}", {"SWELL_NAME": "main-8000"}),
            ("reload", {"SWELL_NAME": "shop"}),
            ("reload", {"SWELL_CONTROL": str(elsewhere)}),
            (f"reload --name shop --runtime-dir {tmp_path}", {"SWELL_RUNTIME_DIR": "/nowhere"}),
        ):
            assert swell(line, **environ).returncode == 0, line
        assert one.instance.calls == []
        assert shop.instance.calls == [("reload",)] * 6
        # The project's file names it; what is wrong in there otherwise keeps nobody from stopping it.
        Path("swell.toml").write_text('name = "main-8000"\nprot = 9\n')
        assert swell("reload").returncode == 0
        assert one.instance.calls == [("reload",)]
        Path("swell.toml").write_text('name = "blog"\n')
        assert (
            "no instance named blog (swell.toml: name) is running; running: main-8000, shop" in swell("reload").stderr
        )


def test_refusals_of_the_instance_are_one_line(one: Running) -> None:
    one.instance.fail = CommandFailed("the new workers could not start: see the log; the old ones serve on")
    done = swell("reload")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "swell: main-8000: the new workers could not start: see the log; the old ones serve on\n"
    assert swell("restart --worker 9").stderr == "swell: main-8000: there is no worker 9: there are 1, 2\n"
    assert "that would make 0 workers" in swell("scale -2").stderr


def test_an_instance_that_dies_meanwhile_is_told(tmp_path: Path) -> None:
    with process(tmp_path, "main", "dies"):
        done = swell("reload")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "swell: main ended before it answered; its log says why\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("status --jsn", "unknown option --jsn: did you mean --json?"),
        ("status now", "swell status takes no arguments, not now"),
        ("status --json=1", "--json takes no value"),
        ("status --json --watch", "drop one of them"),
        ("status --port 1", "unknown option --port"),
        ("reload --name", "--name needs a value"),
        ("reload --name a --control b", "--name and --control both say which instance"),
        ("reload --control off", "--control needs the path of a control socket here"),
        ("scale", "say how many workers: swell scale 4, swell scale 1..8, swell scale +1"),
        ("scale 1 2", "takes one number or range, not 1 2"),
        ("scale four", "write a number, a range such as 1..8, or +1 or -1, not four"),
        ("scale 8..1", "has a range whose end is below its start"),
        ("scale 0", "must allow at least one worker"),
        ("scale 999", "must be at most 256"),
        ("scale +0", "changes nothing"),
        ("scale --worker 3", "unknown option --worker"),
        ("restart", "say which worker: --worker ID"),
        ("restart --worker one", "--worker must be the number of a worker, not one"),
        ("restart --wroker 1", "unknown option --wroker: did you mean --worker?"),
        ("stop --nwo", "unknown option --nwo: did you mean --now?"),
        ("drain --now", "unknown option --now"),
        ("explain --last x", "--last must be a number from 1 to 1000, not x"),
        ("explain --last 0", "not 0"),
        ("explain --lst 3", "unknown option --lst: did you mean --last?"),
    ],
)
def test_wrong_command_lines(
    line: str, reason: str, one: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    problem, hint = err.splitlines()
    assert problem.startswith("swell: ")
    assert reason in problem
    assert hint == f"`swell {line.split()[0]} --help` explains the command."
    assert one.instance.calls == []


@pytest.mark.parametrize("word", ["statu", "relaod", "sop", "Scale", "restrat", "explian", "drian", "run"])
def test_misspelt_commands_are_not_applications(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    assert f"swell: unknown command {word}: did you mean " in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_that_fits(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--nonsense", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: swell {command} ")
    assert all(len(line) <= 80 for line in text.splitlines())
    for option in ("--name NAME", "--control PATH", "--runtime-dir DIR", "-h, --help"):
        assert f"\n  {option}" in text
    assert main(["help", command]) == 0
    assert capsys.readouterr().out == text
    assert main(["--help"]) == 0
    assert f"  swell {command} " in capsys.readouterr().out


def test_status_is_a_table_for_people(one: Running) -> None:
    done = swell("status", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "main-8000 running: main:app on http://127.0.0.1:8000"
    assert re.match(r"2 workers of 1\.\.8; generation 1; spawn fork; pid 0; up 1m\d\ds; swell ", lines[1])
    assert lines[3].split() == ["ID", "PID", "STATE", "AGE", "REQUESTS", "REQ/S", "RUN", "CONNS", "LOOP", "P95", "RSS"]
    assert lines[4].split() == ["1", "40001", "ready", "1h02m", "123k", "0", "3", "64", "-", "1.0ms", "41M"]
    assert lines[6].strip() == "replaces worker 0, which was killed by SIGKILL"
    assert all(len(line) <= 80 for line in lines)
    assert "\x1b" not in done.stdout


def test_status_shows_what_happens_between_two_looks(one: Running) -> None:
    looks = iter(range(1000))

    def status() -> dict[str, object]:
        look = next(looks)
        busy = worker(1, requests=100 + 50 * look, samples=10 * look, busy_samples=6 * look, rss_bytes=12 << 30)
        fresh = [worker(5, cause="one more: loops at 70%")] if look else []
        return {"instance": one.instance.instance, "workers": [busy, *fresh]}

    one.instance.status = status  # type: ignore[method-assign]
    one.instance.instance["name"] = "überlang"
    row = swell("status", COLUMNS="120", PYTHONIOENCODING="ascii").stdout.splitlines()
    assert row[0].startswith(r"\xfcberlang running: ")
    cells = row[4].split()
    assert 60 < float(cells[5]) <= 100  # 50 requests in half a second and a little
    assert cells[8] == "60%"
    assert cells[10] == "12.0G"
    assert row[5].endswith("41M  one more: loops at 70%")
    assert row[5].split()[5] == "-"


def test_status_names_the_request_that_a_loop_hangs_in(one: Running) -> None:
    since = time.monotonic_ns() - 95 * 10**9
    one.instance.workers = [worker(1, state="stuck", current={"line": "GET /\x1b[2Jslow", "since_ns": since})]
    out = swell("status").stdout
    assert re.search(r"\n +in GET /\?\[2Jslow for 1m3\ds\n", out)
    one.instance.workers = []
    one.instance.instance["state"] = "sleeping"
    assert "no workers: the next connection starts one" in swell("status").stdout


def test_status_as_json_is_the_instances_document(one: Running) -> None:
    assert json.loads(swell("status --json").stdout) == one.instance.status()


def test_status_has_colours_on_a_terminal_only(one: Running) -> None:
    code, text = on_terminal("status", "xterm-256color")
    assert code == 0
    assert "\x1b[32mready\x1b[0m" in text
    code, text = on_terminal("status", "dumb")
    assert code == 0
    assert "\x1b" not in text
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_watching_goes_on_until_it_is_interrupted(one: Running, term: str) -> None:
    code, text = on_terminal("status --watch", term, lambda text: text.count("main-8000") >= 2)
    assert code == 130
    assert ("\x1b" in text) == (term == "xterm")
    assert "Traceback" not in text


def test_a_long_reload_shows_how_it_gets_on(one: Running) -> None:
    one.instance.hold = hold = asyncio.Event()
    one.instance.workers = [worker(1), worker(2, generation=2), worker(3, generation=2, state="starting")]
    seen = threading.Event()

    def release(text: str) -> bool:
        if "of 2" in text and not seen.is_set():
            seen.set()
            one.call(hold.set)
        return False

    code, text = on_terminal("reload", "xterm", release)
    assert code == 0
    assert "\r\x1b[Kreloading: 1 of 2 new workers ready, " in text
    assert text.endswith("\r\x1b[Kreload: done\r\n")


def test_interrupting_the_waiting_does_not_end_the_command(one: Running) -> None:
    one.instance.hold = hold = asyncio.Event()
    code, text = on_terminal("reload", "xterm", lambda text: "reloading: " in text)
    assert code == 130
    assert "Traceback" not in text
    assert one.instance.ended == []
    one.instance.hold = None
    one.call(hold.set)
    assert swell("reload").returncode == 0
    assert sorted(one.instance.ended) == ["reload", "reload"]


def test_explain_lists_the_decisions(one: Running) -> None:
    at = time.time() - 3 * 86400
    one.instance.decisions = [
        {
            "at": at + number,
            "before": number,
            "after": number + 1,
            "rule": "utilisation",
            "guard": None,
            "inputs": {"utilisation": 0.9},
            "text": "loops 90% at work, 65% wanted, " + "for a while now " * 6,
        }
        for number in range(3)
    ]
    done = swell("explain --last 2", COLUMNS="80")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "2 workers, because the loops are half idle."
    day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at + 1))
    assert lines[1].startswith(f"{day}  1 -> 2  loops 90% at work")
    assert lines[2].startswith(" " * 29)
    assert "  0 -> 1  " not in done.stdout
    assert all(len(line) <= 80 for line in lines)
    document = json.loads(swell("explain --json").stdout)
    assert document == {"now": one.instance.now, "decisions": one.instance.decisions}
    one.instance.decisions = []
    assert swell("explain").stdout.endswith("\nNo decisions yet.\n")
