"""`--limit-max-requests`: the server ends gracefully by itself after so many requests."""

import http.client

import pytest

from swell import Config
from swell.worker.settings import EngineSettings
from worker.launching import launched, wait_listening


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_another_worker_follows_after_the_last_request(loop: str) -> None:
    options = ["--port", "0", "--loop", loop, "--limit-max-requests", "3"]
    with launched("plain:app", *options) as server:
        connection = http.client.HTTPConnection("127.0.0.1", wait_listening(server), timeout=15)
        first = server.worker
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read() == str(first).encode(), "also the last one is answered"
        server.wait_for_log(r"worker 1 \(pid \d+\) is to be replaced: limit_max_requests is reached")
        server.wait_for_log(r"worker 2 \(pid \d+\) is ready after \d+ ms: replaces worker 1: limit_max_requests")
        server.wait_for_log(r"worker 1 \(pid \d+\) has ended: limit_max_requests is reached")
        connection.close()
        connection.request("GET", "/")
        assert connection.getresponse().read() == str(server.worker).encode() != str(first).encode()
        connection.close()
        server.process.terminate()
        assert server.wait_for_end() == 0
        assert "Traceback" not in server.log


def test_jitter_is_added() -> None:
    config = Config.make("plain:app", limit_max_requests=10, limit_max_requests_jitter=5)
    drawn = {EngineSettings.of(config).limit_max_requests for _ in range(500)}
    assert drawn == set(range(10, 16))


def test_off_by_default() -> None:
    assert EngineSettings.of(Config.make("plain:app")).limit_max_requests == 0
