"""The `backend` fixture: every test runs on both loops and, once, over a Unix socket."""

import socket

import pytest
from support.inprocess import Backend

BACKENDS = (Backend("asyncio"), Backend("uvloop", loop="uvloop"), Backend("unix", family=socket.AF_UNIX))


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen
