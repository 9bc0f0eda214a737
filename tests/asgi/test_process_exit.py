"""`SystemExit` and `KeyboardInterrupt` out of a request end the worker, once it is answered; another one follows."""

import http.client
from pathlib import Path

import pytest
from support.server import serving

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["query_string"] == b"suspend":
        await asyncio.sleep(0)
    raise {"/exit": SystemExit(7), "/interrupt": KeyboardInterrupt()}[scope["path"]]
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("suspend", ["", "?suspend"])
@pytest.mark.parametrize(
    ("target", "error", "code"), [("/exit", "SystemExit", 7), ("/interrupt", "KeyboardInterrupt", 0)]
)
def test_ends_the_worker(tmp_path: Path, loop: str, suspend: str, target: str, error: str, code: int) -> None:
    (tmp_path / "ending.py").write_text(APP)
    with serving("ending:app", directory=tmp_path, loop=loop) as server:
        server.expect_error(error)
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        client.request("GET", target + suspend)
        try:
            assert client.getresponse().status == 500
        finally:
            client.close()
        server.wait_for_log(r"worker 1 \(pid \d+\) ends, by what the application raised")
        server.wait_for_log(rf"worker 1 .* ended with exit code {code}" if code else "worker 1 .* has ended")
        server.wait_for_log(r"worker 2 \(pid \d+\) is ready")
