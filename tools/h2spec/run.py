"""h2spec against an application served by Swell: RFC 9113, RFC 7541. Called by `make h2spec`.

h2spec is a Go program: one on the search path is used, else Go builds it into `.cache/h2spec`. All cases of the groups
generic, hpack and http2 are run, in clear text (`--http-version 2`: a port that also speaks HTTP/1.1 answers an invalid
preface, see crates/engine/src/h2/README.md) and over TLS, where Swell speaks both.

The exit code is 0 when no case fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.certificates import server_files  # noqa: E402
from support.server import serving  # noqa: E402

HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "h2spec"
MODULE = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"
SECONDS = 120.0  # a group takes five
#: How long h2spec waits for what must not come; its own default is 2 s, and a case that must come has come long before.
WAIT = "1"


def find_h2spec() -> str:
    """The path of an h2spec."""
    if found := shutil.which("h2spec"):
        return found
    built = CACHE / "h2spec"
    if not built.exists():
        go = shutil.which("go") or "/usr/local/go/bin/go"
        if not Path(go).exists():
            sys.exit("h2spec is missing: install it, or Go, with which it is then built")
        subprocess.run([go, "install", MODULE], env={**os.environ, "GOBIN": str(CACHE)}, check=True)
    return str(built)


def run(h2spec: str, loop: str, *, tls: bool) -> bool:
    """True when nothing fails."""
    options = ["--no-access-log"]
    if tls:
        certificate, key = server_files()
        options += ["--ssl-certfile", certificate, "--ssl-keyfile", key]
    else:
        options += ["--http-version", "2"]
    with serving("served:app", *options, directory=HERE, loop=loop) as server:
        command = [h2spec, "generic", "hpack", "http2", "-h", "127.0.0.1", "-p", str(server.port), "-o", WAIT]
        if tls:
            command += ["-t", "-k"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS)
    counted = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
    _, _, failures = done.stdout.partition("Failures:")
    print(f"{'TLS' if tls else 'clear text'}: {counted[0] if counted else done.stdout}")
    if failures:
        print(failures)
    return done.returncode == 0 and counted is not None and counted[4] == "0"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    chosen = parser.parse_args()
    h2spec = find_h2spec()
    outcomes = [run(h2spec, chosen.loop, tls=tls) for tls in (False, True)]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
