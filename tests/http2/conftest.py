"""The `server` fixture: `served/streams.py` on each event loop, once per test file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.server import ServerProcess, serving

SERVED = Path(__file__).parent / "served"


@pytest.fixture(scope="module", params=("asyncio", "uvloop"))
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    options = ("--timeout-graceful-shutdown", "5", *getattr(request.module, "OPTIONS", ()))
    with serving("streams:app", *options, directory=SERVED, loop=request.param) as found:
        yield found
