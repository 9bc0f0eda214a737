"""The `hostile` fixture: one server per test file and event loop, with the file's `OPTIONS`."""

from collections.abc import Iterator

import pytest

from attacks.target import Target, target

LOOPS = ("asyncio", "uvloop")


@pytest.fixture(scope="module", params=LOOPS)
def hostile(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target(*getattr(request.module, "OPTIONS", ()), loop=request.param) as found:
        yield found
        assert found.is_serving()
