"""Autobahn's fuzzing client against a WebSocket echo served by Swell. RFC 6455, RFC 7692. Called by `make autobahn`.

1. Autobahn is installed into `.cache/autobahn` (it needs a Python 2.7, which is looked for).
2. `swell` serves `echo.py` on a free port of 127.0.0.1, with compression on and every limit at its default.
3. `wstest` runs all cases, within a time limit; its own report stays in `.cache/autobahn/report`.
4. The verdicts are counted and written to `docs/autobahn.md`.

The exit code is 0 when every case ran, none failed and no more than `NON_STRICT_MOST` were answered in another order
or with another code than the suite prefers.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.server import serving  # noqa: E402

from tools.autobahn.autobahn_report import Verdicts, page  # noqa: E402

HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "autobahn"
DOCUMENT = ROOT / "docs" / "autobahn.md"
MINUTES = 40.0  # for all cases on a busy machine; eight are usual
VIRTUALENV = "virtualenv==20.15.1"  # the last that makes environments for Python 2.7
WSTEST = "from autobahntestsuite.wstest import run; run()"


def find_python2() -> str:
    """A Python 2.7 that runs: `AUTOBAHN_PYTHON`, the search path, pyenv."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [os.environ.get("AUTOBAHN_PYTHON"), shutil.which("python2.7")]
    places += [str(python) for python in sorted(versions.glob("2.7.*/bin/python2.7"), reverse=True)]
    for place in filter(None, places):
        # What is on the path may be a stand-in that runs nothing.
        if (
            subprocess.run(
                [place, "-c", "import sys; assert sys.version_info[:2] == (2, 7)"], capture_output=True
            ).returncode
            == 0
        ):
            return place
    sys.exit("Autobahn's test suite needs a Python 2.7: install one with pyenv, or set AUTOBAHN_PYTHON to its path")


def install() -> Path:
    """The interpreter of an environment that holds the test suite."""
    python, wanted = CACHE / "bin" / "python", HERE / "requirements.txt"
    done = CACHE / "installed.txt"
    if done.exists() and done.read_text() == wanted.read_text():
        return python
    python2, boot = find_python2(), CACHE / "boot"
    pip = [python2, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True).returncode:
        subprocess.run([python2, "-m", "ensurepip", "--user"], check=True)
    subprocess.run([*pip, "install", "--quiet", "--upgrade", "--target", str(boot), VIRTUALENV], check=True)
    environment = {**os.environ, "PYTHONPATH": str(boot)}
    subprocess.run([python2, "-m", "virtualenv", "--quiet", str(CACHE)], env=environment, check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(wanted)], check=True)
    done.write_text(wanted.read_text())
    return python


def fuzz(python: Path, port: int, cases: list[str], minutes: float) -> dict[str, dict[str, str]]:
    """Runs the cases; returns Autobahn's verdicts by case."""
    report = CACHE / "report"
    shutil.rmtree(report, ignore_errors=True)
    specification = CACHE / "fuzzingclient.json"
    server = {"agent": "swell", "url": f"ws://127.0.0.1:{port}", "options": {"version": 18}}
    plan = {"outdir": str(report), "servers": [server], "cases": cases, "exclude-cases": [], "options": {}}
    specification.write_text(json.dumps(plan))
    command = ["nice", "-n", "10", str(python), "-c", WSTEST, "-m", "fuzzingclient", "-s", str(specification)]
    with subprocess.Popen(command, cwd=CACHE, start_new_session=True) as client:
        try:
            code = client.wait(minutes * 60)
        except BaseException:
            os.killpg(client.pid, signal.SIGKILL)
            raise
    if code:
        sys.exit(f"wstest ended with {code}")
    index: dict[str, dict[str, dict[str, str]]] = json.loads((report / "index.json").read_text())
    return index["swell"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=["*"], help="cases to run, such as 6.* (then nothing is written)")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time limit")
    chosen = parser.parse_args()
    python = install()
    begun = datetime.datetime.now()
    with serving("echo:app", directory=HERE, loop=chosen.loop) as server:
        found = fuzz(python, server.port, chosen.cases, chosen.minutes)
    verdicts = Verdicts(found)
    minutes = (datetime.datetime.now() - begun).total_seconds() / 60
    print(verdicts.summary())
    if chosen.cases == ["*"]:
        DOCUMENT.write_text(page(verdicts, HERE / "requirements.txt", chosen.loop, minutes))
        print(f"written to {DOCUMENT.relative_to(ROOT)}")
        return 0 if verdicts.complete and verdicts.good else 1
    return 0 if verdicts.good else 1


if __name__ == "__main__":
    sys.exit(main())
