"""uNetworking's h1spec against an echo served by Swell. RFC 9112. Called by `make h1spec H1SPEC=DIR`.

DIR is a checkout of h1spec, which is not part of this repository; `tests/h1spec` covers the same rules in `make test`.
h1spec is a Deno script: a `deno` on the search path is used, else npm installs one into `.cache/h1spec`.

The exit code is 0 when all 33 tests pass.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.server import serving  # noqa: E402

HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "h1spec"
DENO = "deno@2.9.6"
SCRIPT = "http_test.ts"
TESTS = 33
SECONDS = 60.0  # the whole suite takes one


def find_deno() -> str:
    """The path of a Deno that runs."""
    if found := shutil.which("deno"):
        return found
    deno = CACHE / "node_modules" / ".bin" / "deno"
    if not deno.exists():
        npm = shutil.which("npm")
        if npm is None:
            sys.exit("h1spec needs Deno: install deno, or npm, with which it is then fetched")
        install = [npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(CACHE), DENO]
        subprocess.run(install, check=True)
    return str(deno)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="a checkout of https://github.com/uNetworking/h1spec")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    chosen = parser.parse_args()
    script = chosen.checkout / SCRIPT
    if not script.is_file():
        sys.exit(f"{script} does not exist: give the checkout's path, make h1spec H1SPEC=DIR")
    deno = find_deno()
    with serving("echo:app", directory=HERE, loop=chosen.loop) as server:
        # The script is untyped in places, hence --no-check.
        allowed = f"--allow-net=127.0.0.1:{server.port}"
        command = [deno, "run", "--no-check", allowed, script.name, "127.0.0.1", str(server.port)]
        done = subprocess.run(
            command, cwd=chosen.checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS
        )
    print(done.stdout)
    counted = re.search(r"(\d+) out of (\d+) tests passed", done.stdout)
    if counted is None:
        sys.exit("h1spec has not said how many tests passed")
    passed, tests = int(counted[1]), int(counted[2])
    return 0 if done.returncode == 0 and passed == tests == TESTS else 1


if __name__ == "__main__":
    sys.exit(main())
