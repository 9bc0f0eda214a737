"""Workers that are replaced after so many requests: always enough of them, nothing lost."""

from __future__ import annotations

import json

from support.steady import MIX, steady_load
from support.steady_clients import KeepAlive
from support.steady_report import Report

from lifecycle.running import instance

QUICK = {**MIX, KeepAlive: (8, 0.02)}


def test_recycling_every_500_requests_loses_nothing() -> None:
    fewest = 2
    with instance("--limit-max-requests", "500", "--limit-max-requests-jitter", "100", workers=2) as running:

        def replaced_twice(report: Report) -> bool:
            nonlocal fewest
            # The slots are no picture of one moment: the old worker may follow its order sooner than the new one.
            workers = json.loads(running.command("status", "--json"))["workers"]
            fewest = min(fewest, sum(worker["state"] == "ready" for worker in workers))
            return len(report.workers()) >= 5

        with steady_load(running.address, mix=QUICK) as load:
            load.wait(replaced_twice, "a fifth worker answers", 40.0)
        load.report.check(fewest=1000)
        assert fewest >= 2, f"{fewest} workers were ready at one time"
        assert running.server.log.count("is to be replaced: limit_max_requests") >= 3
