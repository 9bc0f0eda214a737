"""The `loop` fixture: a test runs on both event loops."""

import pytest


@pytest.fixture(params=("asyncio", "uvloop"))
def loop(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
