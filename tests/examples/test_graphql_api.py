"""Strawberry behind the server: queries over HTTP, subscriptions over graphql-transport-ws."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from apps.running import RunningServer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

APP = "examples.graphql_api:app"
PROTOCOL = Subprotocol("graphql-transport-ws")


def ask(server: RunningServer, query: str, **variables: Any) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.post(server.url, json={"query": query, "variables": variables}).json()
    return answer


def report(server: RunningServer, buoy: str, height: float) -> dict[str, Any]:
    query = "mutation ($b: String!, $h: Float!) { report(buoy: $b, height: $h) { buoy height } }"
    return ask(server, query, b=buoy, h=height)


def tell(ws: ClientConnection, **message: Any) -> None:
    ws.send(json.dumps(message))


def hear(ws: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(ws.recv(timeout=10))
    return message


@contextmanager
def session(server: RunningServer) -> Iterator[ClientConnection]:
    with connect(server.ws_url, subprotocols=[PROTOCOL]) as ws:
        assert ws.subprotocol == PROTOCOL
        tell(ws, type="connection_init")
        assert hear(ws)["type"] == "connection_ack"
        yield ws


def ping(ws: ClientConnection) -> None:
    """A round trip: what was told before it has been dealt with."""
    tell(ws, type="ping")
    assert hear(ws)["type"] == "pong"


def wait_for_subscribers(server: RunningServer, wanted: int) -> None:
    for _ in range(1000):  # each turn is a request that lets the server's tasks run
        if ask(server, "{ subscribers }")["data"]["subscribers"] == wanted:
            return
    pytest.fail(f"there are never {wanted} subscribers")


def test_query_and_mutation(server: RunningServer) -> None:
    assert report(server, "Fastnet", 4.5) == {"data": {"report": {"buoy": "Fastnet", "height": 4.5}}}
    report(server, "Fastnet", 5.5)
    answer = ask(server, '{ buoys history(buoy: "Fastnet", limit: 1) { height } }')
    assert "Fastnet" in answer["data"]["buoys"]
    assert answer["data"]["history"] == [{"height": 5.5}]


def test_get_query(server: RunningServer) -> None:
    response = httpx.get(server.url, params={"query": "{ subscribers }"})
    assert response.json()["data"] == {"subscribers": 0}


@pytest.mark.parametrize(("buoy", "height"), [("", 1.0), ("x" * 41, 1.0), ("Sylt", -1.0), ("Sylt", 41.0)])
def test_bounds(server: RunningServer, buoy: str, height: float) -> None:
    server.expect_error("ValueError")  # Strawberry logs what a resolver raises
    answer = report(server, buoy, height)
    assert answer["data"] is None
    assert "errors" in answer


def test_query_limits(server: RunningServer) -> None:
    aliases = " ".join(f"a{number}: subscribers" for number in range(16))
    assert "aliases" in ask(server, f"{{ {aliases} }}")["errors"][0]["message"]


def test_subscription(server: RunningServer) -> None:
    with session(server) as ws:
        query = 'subscription { reports(buoy: "Sylt") { buoy height } }'
        tell(ws, type="subscribe", id="1", payload={"query": query})
        wait_for_subscribers(server, 1)
        report(server, "Elsewhere", 9.0)
        for height in (1.0, 1.5, 2.0):
            report(server, "Sylt", height)
            data = {"reports": {"buoy": "Sylt", "height": height}}
            assert hear(ws) == {"type": "next", "id": "1", "payload": {"data": data}}
        tell(ws, type="complete", id="1")
        ping(ws)
        wait_for_subscribers(server, 0)


def test_two_subscriptions_on_one_socket(server: RunningServer) -> None:
    with session(server) as ws:
        for buoy in ("North", "South"):
            query = f'subscription {{ reports(buoy: "{buoy}") {{ height }} }}'
            tell(ws, type="subscribe", id=buoy, payload={"query": query})
        wait_for_subscribers(server, 2)
        report(server, "South", 2.0)
        assert hear(ws)["id"] == "South"
        report(server, "North", 3.0)
        assert hear(ws)["id"] == "North"
    wait_for_subscribers(server, 0)


def test_query_over_websocket(server: RunningServer) -> None:
    with session(server) as ws:
        tell(ws, type="subscribe", id="q", payload={"query": "{ subscribers }"})
        assert hear(ws)["payload"]["data"] == {"subscribers": 0}
        assert hear(ws) == {"type": "complete", "id": "q"}


def test_subscription_ends_with_its_connection(server: RunningServer) -> None:
    with session(server) as ws:
        tell(ws, type="subscribe", id="1", payload={"query": "subscription { reports { height } }"})
        wait_for_subscribers(server, 1)
        ws.socket.close()  # no close frame
    wait_for_subscribers(server, 0)


def test_protocol_violations(server: RunningServer) -> None:
    with connect(server.ws_url, subprotocols=[PROTOCOL]) as ws:
        tell(ws, type="subscribe", id="1", payload={"query": "{ subscribers }"})
        with pytest.raises(ConnectionClosed):
            hear(ws)
        assert ws.close_code == 4401
    with connect(server.ws_url, subprotocols=[Subprotocol("graphql-ws")]) as ws:
        with pytest.raises(ConnectionClosed):
            hear(ws)
        assert ws.close_code == 4406
