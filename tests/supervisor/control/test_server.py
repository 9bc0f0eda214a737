"""The control socket: routes, documents, refusals, and commands whose clients leave. Real socket, real loop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.inprocess import wait_until
from support.instance import SECONDS, FakeInstance, serving

from swell.config import Config
from swell.supervisor.control.protocol import CommandFailed
from swell.supervisor.control.server import ControlServer
from swell.supervisor.instance import InstanceDirectory

Scenario = Callable[["Talk", FakeInstance, ControlServer], Coroutine[Any, Any, None]]


class Answer:
    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        self.body = body

    @property
    def document(self) -> Any:
        assert self.headers["content-type"].startswith("application/")
        return json.loads(self.body)

    def problem(self, status: int) -> str:
        """The detail of a refusal, RFC 9457 §3.1."""
        assert self.headers["content-type"] == "application/problem+json"
        assert set(self.document) == {"type", "title", "status", "detail"}
        assert (self.status, self.document["status"], self.document["type"]) == (status, status, "about:blank")
        return str(self.document["detail"])


class Talk:
    """Raw requests to the socket."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    async def send(self, method: str, target: str, body: bytes = b"", *headers: str) -> asyncio.StreamReader:
        """Leaves the connection open and the answer unread."""
        reader, self.writer = await asyncio.open_unix_connection(self.path)
        lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *headers]
        if body:
            lines += [f"Content-Length: {len(body)}"]
            if not any(line.lower().startswith("content-type") for line in headers):
                lines += ["Content-Type: application/json"]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return reader

    async def __call__(self, method: str, target: str, body: bytes = b"", *headers: str) -> Answer:
        reader = await self.send(method, target, body, *headers)
        head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
        self.writer.close()
        await self.writer.wait_closed()
        return Answer(head, rest)


def talk(tmp_path: Path, scenario: Scenario) -> FakeInstance:
    """Runs a scenario against a fresh instance, and checks that the loop is left as it was."""

    async def run() -> FakeInstance:
        uncaught: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: uncaught.append(context))
        instance = FakeInstance()
        async with asyncio.timeout(SECONDS):
            with closing(InstanceDirectory.claim(tmp_path, "main-8000")) as directory:
                async with serving(instance, directory) as server:
                    await scenario(Talk(directory.control), instance, server)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not uncaught, uncaught
        return instance

    return asyncio.run(run())


def test_status_is_the_instances_own_document(tmp_path: Path) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        answer = await ask("GET", "/v1/status")
        assert (answer.status, answer.document) == (200, instance.status())
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        head = await ask("HEAD", "/v1/status")
        assert (head.status, head.body) == (200, b"")

    talk(tmp_path, scenario)


def test_explain_takes_a_number(tmp_path: Path) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        assert (await ask("GET", "/v1/explain")).document == {"now": instance.now, "decisions": []}
        await ask("GET", "/v1/explain?last=7")
        for wrong in ("0", "1001", "-1", "x", "", "%D9%A3", "9" * 900):
            assert "last must be a whole number from 1 to 1000" in (
                await ask("GET", f"/v1/explain?last={wrong}")
            ).problem(400)
        assert (await ask("GET", "/v1/explain?lst=7")).problem(400) == (
            "unknown query parameter lst: did you mean last?"
        )
        assert "stands there twice" in (await ask("GET", "/v1/explain?last=1&last=2")).problem(400)
        assert "malformed" in (await ask("GET", "/v1/explain?last")).problem(400)
        assert "none is valid here" in (await ask("GET", "/v1/status?verbose=1")).problem(400)

    assert talk(tmp_path, scenario).calls == [("explain", 20), ("explain", 7)]


@pytest.mark.parametrize(
    ("state", "status"),
    [("running", 200), ("reloading", 200), ("sleeping", 200), ("starting", 503), ("draining", 503), ("stopping", 503)],
)
def test_health_says_whether_to_send_requests(tmp_path: Path, state: str, status: int) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        instance.instance["state"] = state
        answer = await ask("GET", "/v1/health")
        assert (answer.status, answer.document) == (status, {"ready": status == 200, "state": state})

    talk(tmp_path, scenario)


@pytest.mark.parametrize(
    ("target", "body", "call", "status"),
    [
        ("scale", {"workers": 4}, ("scale", 4, 4, None), 200),
        ("scale", {"min": 2, "max": 6}, ("scale", 2, 6, None), 200),
        ("scale", {"min": 0}, ("scale", 0, None, None), 200),
        ("scale", {"max": 3}, ("scale", None, 3, None), 200),
        ("scale", {"by": 1}, ("scale", None, None, 3), 200),
        ("scale", {"by": -1}, ("scale", None, None, 1), 200),
        ("reload", {}, ("reload",), 200),
        ("reload", None, ("reload",), 200),
        ("restart", {"worker": 2}, ("restart", 2), 200),
        ("drain", {}, ("drain",), 202),
        ("stop", {}, ("stop", False), 202),
        ("stop", {"now": True}, ("stop", True), 202),
    ],
)
def test_commands_reach_the_instance(
    tmp_path: Path, target: str, body: object, call: tuple[object, ...], status: int
) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        answer = await ask("POST", f"/v1/{target}", b"" if body is None else json.dumps(body).encode())
        assert answer.status == status
        assert answer.document["text"].startswith(target)

    assert talk(tmp_path, scenario).calls == [call]


@pytest.mark.parametrize(
    ("target", "body", "detail"),
    [
        ("scale", b"{}", r'say either \{"workers": 4\}'),
        ("scale", b'{"workers": 4, "by": 1}', "say either"),
        ("scale", b'{"wrkers": 4}', "^unknown key wrkers: did you mean workers\\?$"),
        ("scale", b'{"zzz": 4}', "^unknown key zzz; valid here: workers, min, max, by$"),
        ("scale", b'{"workers": 4, "workers": 5}', "key workers stands there twice"),
        ("scale", b'{"workers": 0}', "min 0 with a max lets it sleep"),
        ("scale", b'{"workers": -1}', "workers must be a whole number from 0 to 256, not -1"),
        ("scale", b'{"workers": 257}', "not 257"),
        ("scale", b'{"workers": true}', "not true"),
        ("scale", b'{"workers": "4"}', 'not "4"'),
        ("scale", b'{"workers": 4.0}', "not 4.0"),
        ("scale", b'{"workers": null}', "not null"),
        ("scale", b'{"workers": NaN}', "not NaN"),
        ("scale", b'{"max": 0}', "max must be a whole number from 1"),
        ("scale", b'{"min": 5, "max": 4}', "min 5 is more than max 4"),
        ("scale", b'{"min": 9}', "min 9 is more than max 8"),
        ("restart", b"{}", "say which worker"),
        ("restart", b'{"worker": "2"}', "worker must be a whole number"),
        ("reload", b'{"now": true}', "unknown key now; none is valid here"),
        ("stop", b'{"now": 1}', "now must be true or false"),
        ("stop", b'{"new": true}', "did you mean now"),
        ("stop", b"[]", "must be a JSON object"),
        ("stop", b"true", "must be a JSON object"),
        ("stop", b'{"now": true', "not valid JSON: .* column 13"),
        ("stop", b'{"now": \xff}', "not valid JSON: it cannot be decoded"),
        ("stop", b"[" * 10_000, "not valid JSON: it cannot be decoded"),
        ("scale", b'{"workers": ' + b"9" * 5000 + b"}", "not valid JSON: it cannot be decoded"),
    ],
)
def test_bodies_are_read_strictly(tmp_path: Path, target: str, body: bytes, detail: str) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        assert re.search(detail, (await ask("POST", f"/v1/{target}", body)).problem(400))

    assert talk(tmp_path, scenario).calls == []


def test_a_body_has_to_say_that_it_is_json(tmp_path: Path) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        form = "Content-Type: application/x-www-form-urlencoded"
        assert "application/json" in (await ask("POST", "/v1/stop", b"now=true", form)).problem(415)
        charset = "Content-Type: Application/JSON; charset=utf-8"
        assert (await ask("POST", "/v1/stop", b"{}", charset)).status == 202

    assert talk(tmp_path, scenario).calls == [("stop", False)]


def test_wrong_paths_and_methods(tmp_path: Path) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        assert (await ask("GET", "/v1/statsu")).problem(404) == "there is no /v1/statsu: did you mean /v1/status?"
        assert "/v1/reload" in (await ask("GET", "/")).problem(404)
        answer = await ask("GET", "/v1/stop")
        assert answer.problem(405) == "/v1/stop takes POST, not GET"
        assert answer.headers["allow"] == "POST"
        answer = await ask("POST", "/v1/status", b"{}")
        assert answer.problem(405) == "/v1/status takes GET and HEAD, not POST"
        assert answer.headers["allow"] == "GET, HEAD"

    assert talk(tmp_path, scenario).calls == []


def test_what_is_at_odds_with_the_state_is_a_conflict(tmp_path: Path) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        assert "that would make 0 workers" in (await ask("POST", "/v1/scale", b'{"by": -2}')).problem(409)
        assert instance.calls == []
        instance.fail = CommandFailed("a reload is going on: wait for its end")
        assert (await ask("POST", "/v1/reload")).problem(409) == "a reload is going on: wait for its end"
        assert (await ask("POST", "/v1/restart", b'{"worker": 7}')).problem(
            404
        ) == "there is no worker 7: there are 1, 2"

    talk(tmp_path, scenario)


def test_a_mistake_of_swell_is_told_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        instance.fail = ZeroDivisionError("ours")
        assert "please report" in (await ask("POST", "/v1/reload")).problem(500)
        assert (await ask("GET", "/v1/status")).status == 200

    talk(tmp_path, scenario)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "/v1/reload failed inside Swell; please report this" in record.getMessage()
    assert record.exc_info is not None


def test_limits_of_the_socket(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        assert (await ask("POST", "/v1/stop", b" " * (16 << 10) + b"{}")).status == 413
        assert (await ask("GET", "/v1/" + "x" * 1024)).status == 414
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
        answer = await ask("GET", "/v1/status", b"", *upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        assert answer.status in (400, 403)

    assert talk(tmp_path, scenario).calls == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_command_goes_on_when_its_client_leaves(tmp_path: Path) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        instance.hold = asyncio.Event()
        await ask.send("POST", "/v1/reload")
        await instance.begun.wait()
        ask.writer.transport.abort()
        # Another client is served meanwhile.
        assert (await ask("GET", "/v1/status")).status == 200
        assert instance.ended == []
        instance.hold.set()
        await wait_until(lambda: instance.ended != [])
        assert instance.ended == ["reload"]

    talk(tmp_path, scenario)


def test_a_client_that_leaves_within_its_body_commands_nothing(tmp_path: Path) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        await ask.send("POST", "/v1/stop", b"", "Content-Length: 20", "Content-Type: application/json")
        ask.writer.write(b'{"now"')
        await ask.writer.drain()
        ask.writer.transport.abort()
        assert (await ask("GET", "/v1/status")).status == 200

    assert talk(tmp_path, scenario).calls == []


def test_the_answer_leaves_although_the_server_closes(tmp_path: Path) -> None:
    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        closing: list[asyncio.Task[None]] = []
        instance.on_end = lambda: closing.append(asyncio.ensure_future(server.close()))
        idle, writer = await asyncio.open_unix_connection(ask.path)
        answer = await ask("POST", "/v1/stop", b"{}")
        assert (answer.status, answer.document) == (202, {"text": "stop False: done"})
        await closing[0]
        assert await idle.read() == b""
        writer.close()
        await writer.wait_closed()
        with pytest.raises((ConnectionError, TimeoutError)):  # accepted by nobody
            async with asyncio.timeout(0.2):
                await ask("GET", "/v1/status")
        ask.writer.transport.abort()
        await server.start()

    talk(tmp_path, scenario)


def test_the_end_of_the_server_ends_what_is_unanswered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swell.supervisor.control.server.CLOSE_SECONDS", 0.2)

    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        instance.hold = asyncio.Event()
        asking = asyncio.ensure_future(ask("POST", "/v1/reload"))
        await instance.begun.wait()
        await server.close()
        assert "ended before the command did" in (await asking).problem(503)
        assert instance.ended == []

    talk(tmp_path, scenario)


STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as peer:
    peer.settimeout(5)
    peer.connect(sys.argv[1])
    peer.sendall(b"GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    sys.stdout.write(repr(peer.recv(12)))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_others_cannot_connect() -> None:
    async def stranger(path: str) -> bytes:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("python3", "-c", STRANGER, path, stdout=pipe, stderr=pipe)
        out, err = await process.communicate()
        return out + err.strip().rpartition(b"\n")[2]

    async def scenario(ask: Talk, instance: FakeInstance, server: ControlServer) -> None:
        directory = Path(ask.path).parent
        directory.chmod(0o755)
        assert await stranger(ask.path) == b"PermissionError: [Errno 13] Permission denied"
        os.chmod(ask.path, 0o666)  # by somebody who knows better
        # Closed before anything is read: how the peer sees that depends on who was faster.
        assert (await stranger(ask.path)).startswith((b"b''", b"ConnectionResetError", b"BrokenPipeError"))
        assert (await ask("GET", "/v1/status")).status == 200

    with tempfile.TemporaryDirectory() as open_to_all:
        os.chmod(open_to_all, 0o755)
        talk(Path(open_to_all), scenario)


def test_the_settings_are_valid_on_any_configuration() -> None:
    from swell.supervisor.control.server import _settings

    settings = _settings(True)
    assert not settings.access_log
    assert settings.limit_body_size == 16 << 10
    assert Config.make("main:app").limit_body_size is None
