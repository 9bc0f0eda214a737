"""What the rig needs on the machine: its own virtual environment with the peers and Swell, nginx, the load generator.

Everything is made once and reused; `--fresh` brings the peers up to date. Called by `run.py` and `soak.py`. Swell is
installed from the checkout as a release build, or from a given wheel, and a build of another profile is refused.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
VENV = BENCH / ".venv"
PYTHON = VENV / "bin" / "python"
LOAD_CRATE = BENCH / "load"
LOAD = LOAD_CRATE / "target" / "release" / "load"
APPS = BENCH / "apps"

PEERS = (
    "uvicorn[standard]",
    "granian",
    "gunicorn>=27,<28",
    "hypercorn",
    "fastpysgi",
    "fastapi",
    "uvloop",
    "websockets",
)
VERSIONS_OF = (
    "swell",
    "uvicorn",
    "httptools",
    "uvloop",
    "granian",
    "gunicorn",
    "hypercorn",
    "fastpysgi",
    "fastapi",
    "starlette",
    "pydantic",
)


class RigError(Exception):
    """The rig cannot work like this; the message tells the user what to do."""


def say(text: str) -> None:
    """Progress goes to standard error; standard output carries the table."""
    print(text, file=sys.stderr, flush=True)


def command(*words: str | Path, cwd: Path | None = None, failure: str) -> str:
    """Run to completion and give its output; a failure shows the end of what it printed."""
    result = subprocess.run(words, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-25:])
        raise RigError(f"{failure}\n{tail}")
    return result.stdout


def install(*packages: str | Path, failure: str) -> None:
    """Install into `bench/.venv`; options of pip are packages, too."""
    command(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages, failure=failure)


def prepare_python(fresh: bool) -> None:
    """Make `bench/.venv` with the peers."""
    if not PYTHON.exists():
        say("making bench/.venv")
        venv.create(VENV, with_pip=True, symlinks=True)
        fresh = True
    stamp = VENV / "peers.txt"
    wanted = "\n".join(PEERS)
    if fresh or not stamp.exists() or stamp.read_text() != wanted:
        say("installing the peers")
        install("--upgrade", *PEERS, failure="the peers could not be installed into bench/.venv:")
        stamp.write_text(wanted)


def prepare_swell(wheel: Path | None, build: bool) -> None:
    """Install Swell, built from the checkout or from `wheel`, and refuse anything but a release build."""
    if wheel is not None and not wheel.exists():
        raise RigError(f"there is no wheel {wheel}")
    if build or wheel is not None:
        say(f"installing Swell from {wheel.name if wheel else 'the checkout (release build)'}")
        source = wheel or ROOT
        install(source, failure="Swell could not be installed into bench/.venv:")
        install("--force-reinstall", "--no-deps", source, failure="Swell could not be reinstalled:")
    profile = swell_profile()
    if profile != "release":
        raise RigError(f"bench/.venv holds a {profile} build of Swell: only a release build is measured")


def swell_profile() -> str:
    """What the installed extension module says of itself."""
    ask = "import swell._core as core; print(core.BUILD_PROFILE)"
    failure = "Swell is not usable in bench/.venv (leave out --no-build to install it, or choose peers by --servers):"
    return command(PYTHON, "-c", ask, cwd=BENCH, failure=failure).strip()


def prepare_load() -> None:
    """Build the load generator; cargo does nothing when it is up to date."""
    if shutil.which("cargo") is None:
        raise RigError("cargo is missing: the load generator (bench/load) is written in Rust")
    build = ("cargo", "build", "--release", "--quiet", "--locked")
    command(*build, cwd=LOAD_CRATE, failure="the load generator could not be built:")


def find_nginx() -> Path | None:
    """nginx from the search path or from where Debian puts it."""
    for place in (shutil.which("nginx"), "/usr/sbin/nginx"):
        if place and Path(place).exists():
            return Path(place)
    return None


def prepare_nginx() -> None:
    """Install nginx with apt when it is absent and we may."""
    if find_nginx() is not None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RigError("nginx is missing: apt-get install nginx-light, or leave it out by --servers")
    say("installing nginx")
    package = ("apt-get", "install", "--yes", "--no-install-recommends", "nginx-light")
    result = subprocess.run(package, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if result.returncode != 0:
        command("apt-get", "update", failure="apt-get update failed:")
        command(*package, failure="nginx could not be installed:")


def versions() -> dict[str, str]:
    """Versions of everything that was measured, without paths."""
    ask = (
        "import importlib.metadata as m, json, sys\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "found['python'] = '%d.%d.%d' % sys.version_info[:3]\n"
        "print(json.dumps(found))\n"
    )
    found: dict[str, str] = json.loads(command(PYTHON, "-c", ask, *VERSIONS_OF, failure="bench/.venv does not work:"))
    nginx = find_nginx()
    if nginx is not None:
        found["nginx"] = command(nginx, "-v", failure="nginx does not start:").strip().rpartition("/")[2]
    return found
