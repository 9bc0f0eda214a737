"""The number of workers follows the load: which load asks for workers, which does not, and the words for it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lifecycle.elastic import SECONDS, Elastic, calling, elastic
from lifecycle.running import SERVED
from swell.errors import SwellError
from swell.supervisor.history import LoadHistory
from swell.supervisor.host import Host

pytestmark = pytest.mark.alone

# At being quick, on a machine with other jobs.
ATTEMPTS = 3
# What Python gives the loop's executor.
THREADS = min(32, (os.cpu_count() or 1) + 4)


def counts(decisions: Sequence[dict[str, Any]]) -> list[int]:
    return [decision["after"] for decision in decisions]


def wait_idle(running: Elastic) -> None:
    """It has been looked at, and found idle: what comes now is a burst."""
    running.wait_why("this is the minimum")


def test_blocking_handlers_in_threads_get_more_workers(tmp_path: Path) -> None:
    with elastic("1..3", tmp_path) as running:
        wait_idle(running)
        with calling(running, "/pool/0.3", 4 * THREADS):
            running.wait_ready(3)
            first, *_ = decisions = running.decisions
        assert counts(decisions)[-1] == 3
        assert re.fullmatch(r"thread pool \d+ % in use > 80 % for .*", first["text"]), first
        assert first["rule"] in ("burst", "panic", "stable")
        assert first["inputs"]["signals"]["pool"]["short"] > 0.8
        running.server.wait_for_log(r"workers 1 → \d: thread pool .* \(rule \w+.*1 ready, loops .*, threads \d+%")


def test_a_blocked_event_loop_gets_more_workers_within_two_seconds(tmp_path: Path) -> None:
    """From the start of the burst to the second worker's readiness. And they go again when the down window is over."""
    with elastic("1..3", tmp_path, damping_window="0s") as running:
        took: list[float] = []
        # Where other jobs had the CPU, it may show what it can again.
        while not took or (took[-1] > 2.0 and len(took) < ATTEMPTS):
            running.wait_ready(1)
            wait_idle(running)
            mark, told = running.server.mark(), len(running.decisions)
            with calling(running, "/sleep/0.05", 8) as callers:
                running.server.wait_for_log(r"worker \d+ \(pid \d+\) is ready", SECONDS, since=mark)
                took.append(time.monotonic() - callers.started)
                running.wait_ready(3)
            ended = time.time()
        assert took[-1] <= 2.0, f"{took}\n{running}"
        first = running.decisions[told]
        assert re.fullmatch(r"loops \d+ % busy > 65 % for [\d.]+ s, a burst", first["text"]), first
        assert (first["before"], first["rule"]) == (1, "burst")

        running.wait_ready(1)
        down = [decision for decision in running.decisions if decision["rule"] == "down" and decision["at"] > ended]
        assert counts(down)[-1] == 1
        assert all("enough for every moment of the last " in decision["text"] for decision in down)
        assert down[0]["at"] - ended > 3.0 - 2.0, "the down window and the last seconds of the load"


def test_computing_handlers_get_as_many_workers_as_there_are_cores(tmp_path: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0))[:2]
    cores = len(cpus)

    def on_these_cpus() -> None:
        os.sched_setaffinity(0, cpus)

    with elastic(f"1..{cores + 2}", tmp_path, before_start=on_these_cpus, host_cpu="80%") as running:
        wait_idle(running)
        with calling(running, "/burn/0.02", 4 * cores):
            machine_is_full = re.compile(r"which asks for \d, but host CPU \d+ % ≥ 80 %: needs more machines")

            def settled() -> bool:
                return running.ready == cores and machine_is_full.search(running.now) is not None

            try:
                running.wait(settled, f"{cores} workers on {cores} cores", SECONDS / 2)
            except AssertionError:
                others = taken_by_others(running, cores)
                if others < 0.3 * cores:
                    raise
                pytest.skip(f"other jobs take {others:.1f} of {cores} cores")
            decisions = running.decisions
        assert max(counts(decisions)) == cores
        held = [decision for decision in decisions if decision["guard"] == "host-cpu"]
        assert held[-1]["before"] == held[-1]["after"] == cores
        running.server.wait_for_log(rf"workers stay {cores}: .*needs more machines \(rule \w+, guard host-cpu; ")


def taken_by_others(running: Elastic, cores: int) -> float:
    """Cores that somebody else has used in the last seconds, by what the last decision was made of."""
    held = [decision["inputs"] for decision in running.decisions if decision["guard"] == "host-cpu"]
    if not held:
        return 0.0
    seen = held[-1]
    return float(seen["host_cpu"] * cores - seen["signals"]["cpu"]["short"] * seen["ready"])


def test_waiting_for_an_upstream_gets_no_more_workers(tmp_path: Path) -> None:
    reason = re.compile(
        r"^1 of 1\.\.3: \d+ requests in flight per worker while the loops are [\d.e-]+ % busy: "
        r"they wait for an upstream, more workers would not help$"
    )
    # Less than the requests take: it is not their latency that is taken for a delay.
    with elastic("1..3", tmp_path, delay="500ms") as running:
        wait_idle(running)
        with calling(running, "/wait/1", 40) as callers:
            running.wait(lambda: callers.answered >= 160, "four seconds of it")
            running.wait(lambda: reason.search(running.now) is not None, "the reason")
        assert not [decision for decision in running.decisions if decision["after"] != decision["before"]]
        assert running.ready == 1


@pytest.mark.parametrize("spawn", ["fork", "fresh"])
def test_asleep_the_first_connection_wakes_it(tmp_path: Path, spawn: str) -> None:
    """The application takes 200 ms to import. A fork has that behind it."""
    with elastic("0..2", tmp_path, "--spawn", spawn, app="slow_import:app") as running:
        took = []
        for _ in range(2):
            running.wait(lambda: running.instance["state"] == "sleeping" and not running.ready, "asleep")
            running.wait_why("0 of 0..2: asleep until a connection comes")
            began = time.monotonic()
            assert running.get("/answer/1").startswith(b"1 ")
            took.append(time.monotonic() - began)
        # The quicker one: the other had to share the machine with somebody else.
        assert min(took) < (0.5 if spawn == "fork" else 3.0), took
        rules = [decision["rule"] for decision in running.decisions]
        assert rules[:3] == ["idle", "wake", "idle"], running.decisions
        assert running.decisions[0]["text"].startswith("no requests and nothing in flight for ")
        assert running.decisions[1]["text"] == "a connection is waiting"


def test_many_connections_at_once_wake_it_without_a_loss(tmp_path: Path) -> None:
    with elastic("0..2", tmp_path) as running:
        running.wait(lambda: running.instance["state"] == "sleeping", "asleep")
        with ThreadPoolExecutor(20) as pool:
            names = list(map(str, range(40)))
            answers = list(pool.map(lambda name: running.get(f"/answer/{name}"), names))
        assert [answer.split()[0].decode() for answer in answers] == names


def test_one_more_by_hand_stays_until_the_load_has_its_say(tmp_path: Path) -> None:
    with elastic("1..3", tmp_path) as running:
        wait_idle(running)
        running.scale("+1")
        running.wait_ready(2)
        (by_hand,) = running.decisions
        assert (by_hand["rule"], by_hand["after"], by_hand["text"]) == ("command", 2, "asked for 2")
        running.wait_ready(1)
        assert running.decisions[-1]["rule"] == "down"
        assert running.decisions[-1]["at"] - by_hand["at"] >= 3.0, "a whole down window"


def test_a_number_by_hand_is_kept_until_a_range_is_given_back(tmp_path: Path) -> None:
    with elastic("1..3", tmp_path) as running:
        wait_idle(running)
        running.scale("2")
        running.wait_ready(2)
        assert running.now == "2 of 2: asked for 2"
        with calling(running, "/sleep/0.05", 8) as callers:
            running.wait(lambda: callers.answered > 80, "a load for two seconds")
        assert counts(running.decisions) == [2]
        running.scale("1..3")
        running.wait_why("1 would do, but samples reach back ")


def test_a_fixed_number_becomes_elastic_by_command(tmp_path: Path) -> None:
    with elastic("1", tmp_path) as running:
        assert running.now == "1 of 1: as configured"
        running.scale("2..3")
        running.wait_ready(2)
        assert running.decisions[0]["text"] == "asked for 2"
        wait_idle(running)


def test_an_upgraded_server_holds_what_there_was_and_remembers_why(tmp_path: Path) -> None:
    """Its parent has seen nothing yet: for a whole window it takes no worker away."""
    with elastic("1..3", tmp_path, stable_window="2s", panic_window="1s") as running:
        wait_idle(running)
        running.scale("+1")
        running.wait_ready(2)
        before = running.instance["pid"]
        os.kill(before, signal.SIGUSR2)
        running.wait(lambda: find_pid(running) not in (before, None), "another parent")
        began = time.time()
        running.wait(lambda: running.server.log.count("lifespan shutdown") == 2, "the end of the old workers")
        running.wait_ready(1)
        by_hand, fall = running.decisions
        assert (by_hand["rule"], by_hand["after"]) == ("command", 2), "the old parent's"
        assert (fall["before"], fall["after"], fall["rule"]) == (2, 1, "down")
        assert fall["at"] - began > 3.0 - 1.5, "a whole down window of its own"


def find_pid(running: Elastic) -> int | None:
    """None while the control socket changes hands."""
    try:
        return int(running.instance["pid"])
    except SwellError:
        return None


def fill(directory: Path, load: float, days: int = 9) -> None:
    """A record of these days at this load, a sample an hour."""
    directory.mkdir(mode=0o700, parents=True)
    kept = LoadHistory(directory / "load.sqlite")
    now = time.time()
    for hours in range(days * 24 - 2, 0, -1):
        kept.add(now - 3600 * hours, load, 1)
    kept.close()


def test_a_forecast_raises_the_count_before_the_load_comes(tmp_path: Path) -> None:
    fill(tmp_path / "state" / "one", 2.5)
    with elastic("1..4", tmp_path, "--forecast", "on", "--name", "one") as running:
        running.wait_ready(3)
        (raised,) = running.decisions
        assert (raised["before"], raised["after"], raised["rule"]) == (1, 3, "forecast")
        assert raised["text"] == "this hour usually needs 2.5 (forecasts of the last day wrong by 0 %)"
        running.wait_why("this is the forecast floor")


def test_forecast_only_says_what_it_would_have_done(tmp_path: Path) -> None:
    fill(tmp_path / "state" / "one", 2.5)
    with elastic("1..4", tmp_path, "--forecast", "forecast-only", "--name", "one") as running:
        running.server.wait_for_log("the forecast would raise 1 → 3: this hour usually needs 2.5 ")
        running.wait_why("this is the minimum; the forecast would raise 1 → 3: this hour usually needs 2.5 ")
        assert running.decisions == []
        assert running.ready == 1


def test_without_a_day_of_history_there_is_no_forecast(tmp_path: Path) -> None:
    fill(tmp_path / "state" / "one", 2.5, days=1)
    with elastic("1..4", tmp_path, "--forecast", "on", "--name", "one") as running:
        running.wait_why("this is the minimum; no forecast: 2")
        assert re.search(r"no forecast: 2[23][.\d]* h of history, 24 h are needed$", running.now)
        assert running.decisions == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("utilization = 0.5", "unknown parameter utilization: did you mean utilisation?"),
        ("delay = 'soon'", "delay is not a duration: 'soon'"),
        ("host-cpu = 1.5", "host-cpu must lie between 10 % and 100 %, not 1.5"),
        ("panic-window = '9s'\nstable-window = '8s'", "panic-window 9s contradicts stable-window 8s"),
        ("interval = ", "is not valid TOML: "),
    ],
)
def test_a_policy_that_makes_no_sense_is_one_line_and_exit_code_2(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    command = [sys.executable, "-m", "swell", "subject:app", "--workers", "1..2", "--port", "0", "--scale-policy"]
    ended = subprocess.run([*command, str(file)], cwd=SERVED, capture_output=True, text=True, timeout=SECONDS)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"swell: {file}")
    assert problem in line
    assert ended.stdout == ""


def test_what_the_machine_does_is_seen() -> None:
    """On the real machine: the figures are there, and make sense."""
    host = Host()
    began = time.monotonic()
    while time.monotonic() - began < 0.2:
        pass
    seen = host.sample(time.monotonic() - began)
    assert seen.cpu is not None
    assert 0 < seen.cpu <= 1
    assert seen.cores is not None
    assert 0 < seen.cores <= (os.cpu_count() or 1)
    assert seen.memory_limit is not None
    assert seen.memory_used is not None
    assert 0 < seen.memory_used < seen.memory_limit
