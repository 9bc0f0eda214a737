"""The end of an instance under load: what was accepted is answered, and nothing takes longer than allowed."""

from __future__ import annotations

import os
import signal
import time

from support.kernel import wait_until
from support.link import How
from support.raw import connected, get
from support.steady import steady_load

from lifecycle.running import bounded, instance

CLEAN_UP = 2.0  # for cancelled requests, and the same again for the application's lifespan
SLACK = 8.0  # for a busy machine


def test_sigterm_answers_what_was_accepted() -> None:
    with instance() as running:
        with steady_load(running.address, patience=5.0) as load:
            load.wait_answers(300)
            since = time.monotonic()
            running.signal(signal.SIGTERM)
            assert running.server.wait_for_end() == 0, running.server.log
            bounded(20.0, since)
            load.stop()
        assert load.report.lost, "the load went on behind the end"
        for loss in load.report.lost:
            refused = loss.how is How.REFUSED
            assert refused or (loss.how is How.RESET and loss.worker is None), f"{loss}\n{load.report}"
        assert running.server.log.count("lifespan shutdown in") == 4


def test_during_the_grace_connections_are_accepted_as_before() -> None:
    with instance("--drain-grace", "1s") as running:
        with steady_load(running.address, patience=5.0) as load:
            load.wait_answers(200)
            since = time.monotonic()
            running.signal(signal.SIGTERM)
            assert running.server.wait_for_end() == 0, running.server.log
            assert time.monotonic() - since >= 1.0
            load.stop()
        assert load.report.lost
        assert min(loss.at for loss in load.report.lost) - since >= 1.0, load.report


def test_a_drain_does_not_exceed_its_deadline() -> None:
    """Requests that wait, that block their loop, and a client that stands still: they get the time and no more."""
    seconds = 0.5
    with (
        instance("--timeout-graceful-shutdown", f"{seconds}", workers=2) as running,
        connected(running.address) as waiting,
        connected(running.address) as blocking,
    ):
        waiting.send(b"GET /wait/60 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        blocking.send(b"GET /sleep/60 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        wait_until(lambda: sum(slot["in_flight"] for slot in running.workers()) == 2, "both requests have begun")
        since = time.monotonic()
        running.signal(signal.SIGTERM)
        assert running.server.wait_for_end(seconds + 30) == 0, running.server.log
        assert time.monotonic() - since >= seconds
        bounded(2 * max(seconds, CLEAN_UP) + CLEAN_UP + 4.0 + SLACK, since)


def test_a_second_signal_ends_at_once() -> None:
    with instance("--timeout-graceful-shutdown", "60", workers=2) as running, connected(running.address) as waiting:
        waiting.send(b"GET /wait/60 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        wait_until(lambda: sum(slot["in_flight"] for slot in running.workers()) == 1, "the request has begun")
        running.signal(signal.SIGTERM)
        running.server.wait_for_log("SIGTERM: finishing")
        since = time.monotonic()
        running.server.signal_again(signal.SIGTERM)
        assert running.server.wait_for_end() == 0
        bounded(CLEAN_UP * 2 + SLACK, since)


def test_who_waits_in_the_middle_of_a_switch_is_answered() -> None:
    """The old worker is stopped and cannot say that it accepts no more. The new one, which waits for that, accepts when
    the end is asked for."""
    with instance(workers=1) as running:
        (old,) = running.pids()
        os.kill(old, signal.SIGSTOP)
        running.signal(signal.SIGHUP)
        running.server.wait_for_log("worker 2 .* is ready")
        with connected(running.address) as waiting:
            waiting.request("/answer/a")
            running.signal(signal.SIGTERM)
            assert waiting.response().status == 200
        os.kill(old, signal.SIGCONT)
        assert running.server.wait_for_end() == 0, running.server.log


def test_during_the_grace_others_accept_in_the_place_of_a_dead_worker() -> None:
    with instance("--drain-grace", "60s", workers=2) as running:
        first, _ = running.wait_workers(2)
        running.signal(signal.SIGTERM)
        running.server.wait_for_log("SIGTERM: finishing")
        os.kill(first["pid"], signal.SIGKILL)
        running.server.wait_for_log(r"worker 1 .* died: SIGKILL")
        for _ in range(16):
            assert get(running.address, "/answer/a").status == 200
        running.server.signal_again(signal.SIGTERM)
        assert running.server.wait_for_end() == 0, running.server.log
