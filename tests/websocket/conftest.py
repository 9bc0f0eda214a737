"""The `backend` fixture: every test runs on both event loops."""

import pytest
from support.inprocess import Backend

BACKENDS = (Backend("asyncio"), Backend("uvloop", loop="uvloop"))


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen
