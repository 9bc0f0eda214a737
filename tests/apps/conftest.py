"""The `server` fixture: the test file's `APP`, once per event loop, shared by the tests of the file."""

from collections.abc import Iterator

import pytest

from apps.running import RunningServer, running

LOOPS = ("asyncio", "uvloop")


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    app = request.module.APP
    options = getattr(request.module, "OPTIONS", ())
    with running(app, request.param, *options) as started:
        yield started
