"""The `backend` fixture: every test runs on both loops and, once each, over a Unix socket and over TLS."""

import socket

import pytest
from support.inprocess import Backend

BACKENDS = (
    Backend("asyncio"),
    Backend("uvloop", loop="uvloop"),
    Backend("unix", family=socket.AF_UNIX),
    Backend("tls", loop="uvloop", tls=True),
)


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.param
    return chosen
