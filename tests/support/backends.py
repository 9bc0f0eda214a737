"""Where the tests of one suite run, by its `backend` fixture, and in what the protocols differ.

A suite's conftest says `pytest_generate_tests = on(*EVERYWHERE)`; the `ALSO` of a file or class is for more. A test
that is about something that only HTTP/1.1 has is marked `http1` with the name of the difference, and does not run over
HTTP/2. docs/http2.md explains each of them (tests/docs/test_differences.py).
"""

import socket
from collections.abc import Callable
from typing import Literal

import pytest

from support.inprocess import Backend

__all__ = [
    "DIFFERENCES", "EVERYWHERE", "HTTP2", "HTTP2_TLS", "TCP", "TLS", "UNIX", "on", "over", "over_both", "over_tcp",
]  # fmt: skip

TCP = (Backend("asyncio"), Backend("uvloop", loop="uvloop"))
UNIX = Backend("unix", family=socket.AF_UNIX)
TLS = Backend("tls", loop="uvloop", tls=True)
HTTP2 = Backend("http2", http2=True)
HTTP2_TLS = Backend("http2-tls", loop="uvloop", tls=True, http2=True)

EVERYWHERE = (*TCP, UNIX, TLS, HTTP2)

Scope = Literal["function", "class", "module"]


def over(*backends: Backend) -> pytest.MarkDecorator:
    """For a test that runs on these, whatever its suite does."""
    return pytest.mark.parametrize("backend", backends, ids=lambda backend: backend.name)


#: For what is decided above the transport, or takes long: once for each protocol.
over_both = over(TCP[0], HTTP2)
#: For clients of others that speak nothing else.
over_tcp = over(*TCP)

#: What HTTP/2 does not have.
DIFFERENCES = (
    "HTTP/1.0",
    "pipelining",
    "heads in pieces",
    "chunks",
    "absolute form",
    "connection options",
    "upgrade",
)


def on(*backends: Backend, scope: Scope = "function") -> Callable[[pytest.Metafunc], None]:
    """The hook of a conftest that runs each test of its folder with a `backend` on these. A server may be shared over
    the `scope`. A file may say both for itself, `BACKENDS` and `SCOPE`, a class the former."""

    def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
        own = (mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
        if "backend" not in metafunc.fixturenames or "backend" in own:
            return
        module, case = metafunc.module, metafunc.cls
        chosen = list(getattr(case, "BACKENDS", getattr(module, "BACKENDS", backends)))
        chosen += [*getattr(module, "ALSO", ()), *getattr(case, "ALSO", ())]
        if marker := metafunc.definition.get_closest_marker("http1"):
            assert marker.args[0] in DIFFERENCES, marker
            chosen = [backend for backend in chosen if not backend.http2]
        metafunc.parametrize("backend", chosen, ids=lambda backend: backend.name, scope=getattr(module, "SCOPE", scope))

    return pytest_generate_tests
