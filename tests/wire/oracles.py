"""Three readers of the same bytes: Swell's parser, h11 and llhttp. Each says which requests it sees and how it ends.

Swell's voice is ``crates/wire/examples/oracle.rs``, llhttp's is ``llhttp_oracle.js`` run by Node; h11 is asked here.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11

ROOT = Path(__file__).parents[2]

#: Seconds that a reader may take for all cases together.
READER_TIMEOUT = 120


@dataclass(frozen=True)
class Seen:
    """One request as a reader understood it; the names of fields in lower case."""

    method: str
    target: str
    version: str
    fields: tuple[tuple[str, str], ...]
    body: str
    complete: bool


@dataclass(frozen=True)
class Reading:
    """What a reader made of a connection's bytes."""

    requests: list[Seen] = field(default_factory=list)
    #: ``error``: refused. ``end``: the connection ends here by the messages' own rules. ``open``: anything else.
    end: str = "open"
    #: For an error: Swell's rule, or the other reader's message.
    reason: str = ""


def _frames(cases: Iterable[bytes]) -> bytes:
    return b"".join(len(case).to_bytes(4, "big") + case for case in cases)


def _run(command: list[str], cases: list[bytes]) -> list[dict[str, Any]]:
    done = subprocess.run(command, input=_frames(cases), capture_output=True, timeout=READER_TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(cases)
    return lines


def build_swell_oracle() -> Path:
    """Builds Swell's reader and returns the path of the program."""
    command = ["cargo", "build", "--quiet", "--release", "-p", "swell-wire", "--example", "oracle"]
    done = subprocess.run([*command, "--message-format=json"], cwd=ROOT, capture_output=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    artifacts = [json.loads(line) for line in done.stdout.splitlines()]
    return next(Path(a["executable"]) for a in artifacts if a.get("executable") and a["target"]["name"] == "oracle")


def read_with_swell(oracle: Path, cases: list[bytes]) -> list[Reading]:
    ends = {"idle": "open", "partial": "open", "close": "end", "upgrade": "end", "error": "error"}
    return [
        Reading(
            requests=[_seen(request) for request in transcript["requests"]],
            end=ends[transcript["end"]],
            reason=transcript.get("rule", ""),
        )
        for transcript in _run([str(oracle)], cases)
    ]


def read_with_llhttp(cases: list[bytes]) -> list[Reading]:
    command = ["node", str(Path(__file__).with_name("llhttp_oracle.js"))]
    return [
        Reading(
            requests=[_seen(request) for request in transcript["requests"]],
            end="error" if transcript["end"] == "error" else "open",
            reason=transcript.get("reason", ""),
        )
        for transcript in _run(command, cases)
    ]


def _fields(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Names in lower case, and the value of transfer-encoding too: h11 hands it out like that."""
    lowered = ((name.lower(), value) for name, value in pairs)
    return tuple((name, value.lower() if name == "transfer-encoding" else value) for name, value in lowered)


def _seen(request: dict[str, Any]) -> Seen:
    return Seen(
        method=request["method"],
        target=request["target"],
        version=request["version"],
        fields=_fields(request["fields"]),
        body=request["body"],
        complete=request["complete"],
    )


def read_with_h11(data: bytes) -> Reading:
    """Plays a server that answers each request with 404 as soon as it is complete."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    if data:
        connection.receive_data(data)
    requests: list[Seen] = []
    head: h11.Request | None = None
    body = bytearray()

    def note(complete: bool) -> None:
        if head is not None:
            requests.append(
                Seen(
                    method=head.method.decode("latin-1"),
                    target=head.target.decode("latin-1"),
                    version=head.http_version.decode("latin-1"),
                    fields=_fields((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers),
                    body=body.decode("latin-1"),
                    complete=complete,
                )
            )

    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            note(complete=False)
            return Reading(requests, "error", str(error))
        if isinstance(event, h11.Request):
            head, body = event, bytearray()
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            note(complete=True)
            head = None
            connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE or connection.their_state is not h11.DONE:
                return Reading(requests, "end")
            connection.start_next_cycle()
        else:
            note(complete=False)
            return Reading(requests, "end" if event is h11.PAUSED else "open")
