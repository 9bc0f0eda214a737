"""What the short benchmarks beside `run.py` have in common: options, what is needed, how a result is kept.

Called by `tls.py`, `observed.py`, `scrape.py`, `profiled.py`.
"""

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rig import environment, machine
from rig.environment import say

RESULTS = Path(__file__).resolve().parents[1] / "results"


def parse(name: str, description: str, rounds: int) -> argparse.Namespace:
    """The command line of ``bench/NAME.py``; `rounds` is how many there are without a wish."""
    parser = argparse.ArgumentParser(prog=f"bench/{name}.py", description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"turns per server ({rounds})")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a measured window (3)")
    parser.add_argument("--no-build", action="store_true", help="measure the Swell that bench/.venv holds already")
    parser.add_argument("--no-store", action="store_true", help="do not keep the result")
    return parser.parse_args()


def prepare(given: argparse.Namespace) -> tuple[int, int]:
    """Has all installed that measures and is measured. Gives the servers' core and ours, the clients'."""
    environment.prepare_python(fresh=False)
    environment.prepare_load()
    environment.prepare_swell(None, build=not given.no_build)
    server_core, client_core = machine.choose_cores(None, None)
    os.sched_setaffinity(0, {client_core})
    return server_core, client_core


def keep(name: str, **values: Any) -> None:
    """Stores what was found, with time, machine and commit."""
    now, commit = datetime.now(UTC), machine.commit()
    path = RESULTS / f"{name}-{now:%Y-%m-%d-%H%M%S}-{str(commit['commit'])[:10]}.json"
    kept = {"at": now.isoformat(), "machine": machine.describe(), **commit, **values}
    path.write_text(json.dumps(kept, indent=1) + "\n")
    say(f"kept: {path.name}")
