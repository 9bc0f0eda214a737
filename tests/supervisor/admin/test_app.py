"""The admin application on a real socket, with an instance that keeps what it is told."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.instance import SECONDS, FakeInstance
from support.readings import reading, snapshot

from swell.supervisor.admin.app import AdminApplication
from swell.supervisor.admin.guard import OWNER, Guard
from swell.supervisor.admin.openapi import description
from swell.supervisor.control.app import ROUTES
from swell.supervisor.control.server import ControlServer

Scenario = Callable[[httpx.AsyncClient, FakeInstance], Coroutine[Any, Any, None]]


def served(scenario: Scenario, guard: Guard | None = None, **values: Any) -> None:
    async def run() -> None:
        instance = FakeInstance()
        listener = socket.create_server(("127.0.0.1", 0))
        taken = snapshot(reading(requests=7), **values)
        application = AdminApplication(instance, lambda: taken, guard or Guard(), 30.0)
        server = ControlServer(application, listener)
        await server.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with asyncio.timeout(SECONDS), httpx.AsyncClient(base_url=url, trust_env=False) as client:
                await scenario(client, instance)
        finally:
            await server.close()
            listener.close()

    asyncio.run(run())


def test_everything_has_the_fields_that_keep_browsers_careful() -> None:
    async def scenario(client: httpx.AsyncClient, instance: FakeInstance) -> None:
        paths = ("/", "/livez", "/metrics", "/api/status", "/api/openapi.json", "/nothing", "/api/nothing", "/api/stop")
        for path in paths:
            answer = await client.get(path)
            assert answer.headers["cache-control"] == "no-store", path
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["content-security-policy"].startswith("default-src 'self'")

    served(scenario)


def test_metrics_in_both_formats() -> None:
    async def scenario(client: httpx.AsyncClient, instance: FakeInstance) -> None:
        plain = await client.get("/metrics")
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "\nswell_requests_total 7\n" in plain.text
        new = await client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
        assert new.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        read = list(text_string_to_metric_families(new.text))  # type: ignore[no-untyped-call]
        assert len(read) > 20
        head = await client.head("/metrics")
        assert (head.status_code, head.content) == (200, b"")
        assert (await client.post("/metrics", headers={"swell-admin": "1"})).status_code == 405

    served(scenario)


def test_commands_are_those_of_the_control_socket() -> None:
    async def scenario(client: httpx.AsyncClient, instance: FakeInstance) -> None:
        assert (await client.get("/api/status")).json()["instance"]["name"] == instance.instance["name"]
        asks = {"swell-admin": "1"}
        assert (await client.post("/api/scale", json={"workers": 3}, headers=asks)).status_code == 200
        assert instance.calls[-1] == ("scale", 3, 3, None)
        assert (await client.post("/api/stop", json={}, headers=asks)).status_code == 202
        calls = list(instance.calls)
        # Neither without the field, nor by GET, nor from another site, nor where the owner's paths are.
        assert (await client.post("/api/stop", json={})).status_code == 403
        assert (await client.get("/api/stop", headers=asks)).status_code == 405
        evil = {**asks, "origin": "https://evil.example"}
        assert (await client.post("/api/stop", json={}, headers=evil)).status_code == 403
        assert (await client.post("/v1/stop", json={}, headers=asks)).status_code == 404
        assert (await client.get("/api/status", headers={"host": "evil.example"})).status_code == 403
        form = {**asks, "content-type": "text/plain"}
        assert (await client.post("/api/stop", content="{}", headers=form)).status_code == 415
        assert instance.calls == calls
        wrong = await client.get("/api/statsu")
        assert wrong.json()["detail"] == "there is no /api/statsu: did you mean /api/status?"

    served(scenario)


def test_the_owner_has_both_paths_and_needs_nothing() -> None:
    async def scenario(client: httpx.AsyncClient, instance: FakeInstance) -> None:
        host = {"host": "anything"}
        for path in ("/v1/scale", "/api/scale"):
            assert (await client.post(path, json={"workers": 2}, headers=host)).status_code == 200
        assert len(instance.calls) == 2

    served(scenario, OWNER)


@pytest.mark.parametrize(("state", "codes"), [("running", [200, 200, 200]), ("starting", [200, 503, 503])])
def test_probes(state: str, codes: list[int]) -> None:
    async def scenario(client: httpx.AsyncClient, instance: FakeInstance) -> None:
        # A probe comes by an address of the pod, with whatever name.
        answers = [await client.get(path, headers={"host": "10.0.0.7"}) for path in ("/livez", "/readyz", "/startupz")]
        assert [answer.status_code for answer in answers] == codes
        assert all(answer.json()["state"] == state for answer in answers)

    served(scenario, Guard(token="x" * 16), state=state)


def test_a_header_that_stands_twice_opens_nothing() -> None:
    async def scenario(client: httpx.AsyncClient, instance: FakeInstance) -> None:
        twice = [("authorization", "Bearer nonsense"), ("authorization", f"Bearer {'x' * 16}")]
        assert (await client.get("/metrics", headers=twice)).status_code == 401

    served(scenario, Guard(token="x" * 16))


def test_a_profile_as_a_page_is_nobodys_page() -> None:
    async def scenario(client: httpx.AsyncClient, instance: FakeInstance) -> None:
        asks = {"swell-admin": "1"}
        body = {"worker": 1, "seconds": 2, "page": True}
        answer = await client.post("/api/profile", json=body, headers=asks)
        assert (answer.status_code, answer.json()["profile"]) == (200, 7)
        assert instance.calls[-1] == ("profile_page", 1, 2, 100, False)
        assert (await client.post("/api/profile", json=body)).status_code == 403
        assert (await client.post("/api/profile", json={**body, "page": 1}, headers=asks)).status_code == 400
        page = await client.get("/api/flame", params={"profile": 7})
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        # It has a script inside, and may do nothing else: not read what this server says, not be framed.
        policy = page.headers["content-security-policy"]
        assert policy.startswith("sandbox allow-scripts; default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert (page.headers["cache-control"], page.headers["x-frame-options"]) == ("no-store", "DENY")
        for wrong in ("8", "x", "", "-1", "\u0667", "9" * 30):
            assert (await client.get("/api/flame", params={"profile": wrong})).status_code == 404
        assert (await client.get("/api/flame?other=1")).status_code == 400
        assert (await client.post("/api/flame?profile=7", headers=asks)).status_code == 405
        assert (await client.get("/api/flame?profile=7", headers={"host": "evil.example"})).status_code == 403

    served(scenario)


def test_who_may_only_look_makes_no_profile() -> None:
    async def scenario(client: httpx.AsyncClient, instance: FakeInstance) -> None:
        asks = {"swell-admin": "1"}
        refused = await client.post("/api/profile", json={"page": True}, headers=asks)
        assert (refused.status_code, instance.calls) == (403, [])
        assert (await client.get("/api/forecast")).json()["text"] == "nothing is recorded yet"

    served(scenario, Guard(read_only=True))


def test_the_description_is_valid_and_complete() -> None:
    document = json.loads(json.dumps(description()))
    validate(document)
    described = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    probes = {("GET", path) for path in ("/livez", "/readyz", "/startupz", "/metrics", "/api/events", "/api/flame")}
    probes.add(("POST", "/api/session"))
    assert described == {(route.method, f"/api/{name}") for name, route in ROUTES.items()} | probes
    for name, route in ROUTES.items():
        operation = document["paths"][f"/api/{name}"][route.method.lower()]
        if route.method == "POST":
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert tuple(schema["properties"]) == tuple(route.names)
            assert [parameter["name"] for parameter in operation["parameters"]] == ["Swell-Admin"]
        else:
            assert [parameter["name"] for parameter in operation["parameters"]] == list(route.names)
