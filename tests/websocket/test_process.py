"""WebSockets of a whole server process: SIGTERM, and the line that each leaves in the access log."""

import json
import signal
from pathlib import Path

import pytest
from support.server import ServerProcess, serving
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

ECHO = Path(__file__).parents[2] / "tools" / "autobahn"
LOOPS = ("asyncio", "uvloop")


def url(server: ServerProcess) -> str:
    return f"ws://127.0.0.1:{server.port}/room"


@pytest.mark.parametrize("loop", LOOPS)
def test_sigterm_closes_with_1012_and_the_server_ends(loop: str) -> None:
    with (
        serving("echo:app", directory=ECHO, loop=loop) as server,
        connect(url(server)) as first,
        connect(url(server)) as second,
    ):
        for client in (first, second):
            client.send("hello")
            assert client.recv(15) == "hello"
        server.process.send_signal(signal.SIGTERM)
        for client in (first, second):
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(15)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert server.wait_for_end() == 0


@pytest.mark.parametrize("loop", LOOPS)
def test_one_access_line_with_the_close_code(loop: str) -> None:
    with serving("echo:app", "--access-log", "--log-format", "json", directory=ECHO, loop=loop) as server:
        with connect(url(server)) as client:
            client.send("hello")
            assert client.recv(15) == "hello"
            client.close(4321, "enough")
        server.wait_for_log(r'"close_code":4321')
        lines = [json.loads(line) for line in server.log.splitlines() if '"close_code"' in line]
    assert len(lines) == 1
    assert (lines[0]["path"], lines[0]["status"], lines[0]["close_code"]) == ("/room", 101, 4321)
