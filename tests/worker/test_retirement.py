"""`--limit-max-requests`: the server ends gracefully by itself after so many requests."""

import http.client

import pytest

from swell import Config
from swell.worker.settings import EngineSettings
from worker.launching import launched, wait_listening


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_ends_gracefully_after_the_last_request(loop: str) -> None:
    options = ["--port", "0", "--loop", loop, "--limit-max-requests", "3"]
    with launched("plain:app", *options) as server:
        connection = http.client.HTTPConnection("127.0.0.1", wait_listening(server), timeout=15)
        for number in (1, 2, 3):
            connection.request("GET", "/")
            response = connection.getresponse()
            assert response.read() == str(server.worker).encode(), "also the last one is answered"
            assert server.process.poll() is None or number == 3
        assert server.wait_for_end() == 0
        connection.close()
        assert "limit_max_requests is reached" in server.log
        assert "Traceback" not in server.log


def test_jitter_is_added() -> None:
    config = Config.make("plain:app", limit_max_requests=10, limit_max_requests_jitter=5)
    drawn = {EngineSettings.of(config).limit_max_requests for _ in range(500)}
    assert drawn == set(range(10, 16))


def test_off_by_default() -> None:
    assert EngineSettings.of(Config.make("plain:app")).limit_max_requests == 0
