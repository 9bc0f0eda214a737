"""The chat room, with the `websockets` library as its people."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from apps.running import RunningServer
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

APP = "examples.chat:app"


class Person:
    """A client that keeps what it heard until it is asked for it."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws

    def tell(self, **event: Any) -> None:
        self.ws.send(json.dumps(event))

    def say(self, text: str, ref: str = "r") -> None:
        self.tell(type="say", text=text, ref=ref)

    def hear(self, kind: str) -> dict[str, Any]:
        """The next event of this kind; others before it are passed over."""
        while True:
            event: dict[str, Any] = json.loads(self.ws.recv(timeout=10))
            if event["type"] == kind:
                return event

    def end(self) -> tuple[int | None, str | None]:
        with contextlib.suppress(ConnectionClosed):
            while True:  # a time-out is not suppressed
                self.ws.recv(timeout=10)
        return self.ws.close_code, self.ws.close_reason


@contextmanager
def person(server: RunningServer, name: str, key: str = "") -> Iterator[tuple[Person, dict[str, Any]]]:
    with connect(f"{server.ws_url}/ws") as ws:
        someone = Person(ws)
        someone.tell(type="join", name=name, key=key or f"key of {name}")
        yield someone, someone.hear("welcome")


def test_page(server: RunningServer) -> None:
    response = httpx.get(server.url)
    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert httpx.head(server.url).headers["content-length"] == str(len(response.content))
    assert httpx.get(f"{server.url}/nowhere").status_code == 404
    assert httpx.post(server.url).headers["allow"] == "GET, HEAD"


def test_two_people_talk(server: RunningServer) -> None:
    with person(server, "Ada") as (ada, _):
        with person(server, "Bob") as (bob, welcome):
            assert {member["name"] for member in welcome["members"]} == {"Ada", "Bob"}
            assert ada.hear("joined")["member"] == welcome["you"]
            bob.tell(type="typing", on=True)
            assert ada.hear("typing") == {"type": "typing", "from": welcome["you"]["id"], "on": True}
            bob.say("Ahoy é\n<b>", ref="bob-1")
            for someone in (ada, bob):
                heard = someone.hear("message")
                assert (heard["name"], heard["text"], heard["ref"]) == ("Bob", "Ahoy é\n<b>", "bob-1")
        assert ada.hear("left")["member"]["name"] == "Bob"
    with person(server, "Eve") as (_, welcome):
        assert welcome["history"][-1]["text"] == "Ahoy é\n<b>"


def test_names_stay_different(server: RunningServer) -> None:
    with person(server, "Ada", "one"), person(server, "Ada", "two") as (_, welcome):
        assert welcome["you"]["name"] == "Ada (2)"


def test_page_that_comes_back_replaces_its_old_connection(server: RunningServer) -> None:
    with person(server, "Ada") as (old, _), person(server, "Ada") as (new, welcome):
        assert welcome["you"]["name"] == "Ada"
        assert old.end() == (4001, "replaced by a newer connection")
        new.say("still here")
        assert new.hear("message")["text"] == "still here"


def test_history_is_bounded(server: RunningServer) -> None:
    with person(server, "Ada") as (ada, _):
        for number in range(30):  # beyond the burst: the room slows its reading down, and loses nothing
            ada.say(str(number))
        assert [ada.hear("message")["text"] for _ in range(30)] == [str(number) for number in range(30)]
    with person(server, "Bob") as (_, welcome):
        assert 30 <= len(welcome["history"]) <= 100


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("not JSON", 1007),
        ("[" * 10_000, 1007),
        ("[]", 1008),
        ('{"type": "fly"}', 1008),
        ('{"type": "say", "ref": "r"}', 1008),
        ('{"type": "say", "ref": "r", "text": "  "}', 1008),
        (json.dumps({"type": "say", "ref": "r", "text": "x" * 2001}), 1009),
        ("x" * 20_000, 1009),
        (b"bytes", 1003),
    ],
)
def test_rules(server: RunningServer, sent: str | bytes, code: int) -> None:
    with person(server, "Mallory") as (mallory, _):
        mallory.ws.send(sent)
        assert mallory.end()[0] == code


def test_first_message_is_join(server: RunningServer) -> None:
    with connect(f"{server.ws_url}/ws") as ws:
        Person(ws).say("no name")
        assert Person(ws).end()[0] == 1008


def test_only_one_room(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{server.ws_url}/elsewhere"):
        pass
    assert refused.value.response.status_code == 403


def test_pages_of_other_sites_are_not_let_in(server: RunningServer) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{server.ws_url}/ws", origin=Origin("http://elsewhere.example"))
    assert refused.value.response.status_code == 403
    with connect(f"{server.ws_url}/ws", origin=Origin(server.url)):
        pass
