"""The wire corpus through a running server: the requests that reach the application, the answers, the log.

Every case is sent whole, in random pieces and, where it is short, byte by byte: what comes out must be the same each
time and must be what the case says (segmentation invariance, RFC 9112 §2.2). The parser alone is tested by
`cargo test`; here is everything around it: sockets, the application, the answers, the end of the connection.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
from attacks.target import Target, target
from support.kernel import wait_until
from support.raw import Closed, Response, connected

from . import corpus

LOOPS = ("asyncio", "uvloop")
#: Longer inputs are not sent byte by byte: they are about sizes, and it would take long.
BYTEWISE = 700
RANDOM = 3


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target("--timeout-header", "20", "--http-version", "1.1", loop=request.param) as found:
        yield found


def segmentations(case: corpus.Case) -> Iterator[list[bytes]]:
    data = case.data
    yield [data]
    rng = random.Random(case.name)
    for _ in range(RANDOM):
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randint(1, 6)))
        yield [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    if len(data) <= BYTEWISE:
        yield [data[at : at + 1] for at in range(len(data))]


def converse(server: Target, case: corpus.Case, pieces: list[bytes]) -> tuple[list[Response], list[dict[str, object]]]:
    """Sends the pieces, awaits what is to be answered, then sends the end: an earlier one would be a disconnect.

    Returns all answers and all that reached the application.
    """
    methods = [request.method for request in case.requests if request.complete]
    wanted = sum(not request.websocket for request in case.requests if request.complete)
    wanted += case.end in ("error", "upgrade")
    answers: list[Response] = []
    unfinished = b""
    with connected(server.address) as connection:
        connection.send_pieces(pieces)
        try:
            while True:
                if len(answers) == wanted:
                    connection.end()
                method = methods[len(answers)] if len(answers) < len(methods) else b"GET"
                answers.append(connection.response(head_only=method == b"HEAD"))
                if answers[-1].status == 101:
                    break
        except Closed as closed:
            unfinished = closed.rest
        except OSError:
            assert len(answers) == wanted, "the server was quicker to close"
    assert unfinished == b""
    for answer in answers:
        answer.interim.clear()  # whether a body is waited for depends on when it comes
        answer.body = re.sub(rb'"client": \[[^]]*\]', b"", answer.body)
        answer.fields = [(name, value) for name, value in answer.fields if name != b"date"]
    seen = server.seen()
    for record in seen:
        record.pop("client", None)
    return answers, seen


def check_request(wanted: corpus.Request, found: dict[str, object]) -> None:
    assert found["method"] == wanted.method.decode("latin-1").upper(), "ASGI: the method's name, uppercased"
    assert found["raw_path"] == wanted.path.decode("latin-1")
    assert found["query"] == wanted.query.decode("latin-1")
    assert found["version"] == wanted.version
    assert found.get("body", "") == wanted.body.decode("latin-1")[:100_000]
    assert found.get("complete", False) == wanted.complete
    if wanted.fields is not None:
        fields = [[name.decode("latin-1").lower(), value.decode("latin-1")] for name, value in wanted.fields]
        assert found["headers"] == fields


def check(case: corpus.Case, answers: list[Response], seen: list[dict[str, object]]) -> None:
    ordinary = [request for request in case.requests if not request.websocket]
    complete = [request for request in ordinary if request.complete]
    assert len(seen) >= len(ordinary), seen
    for wanted, found in zip(ordinary, seen, strict=False):
        if wanted.complete:
            check_request(wanted, found)
        else:
            # How much of a body that never becomes whole was handed over is a matter of timing.
            assert wanted.body.decode("latin-1").startswith(str(found.get("body", "")))
            assert "complete" not in found
    for wanted, answer in zip(complete, answers, strict=False):
        assert answer.status == 200
        assert answer.closes is not wanted.keep_alive or wanted.version == "1.0"
    rest = answers[len(complete) :]
    match case.end:
        case "error":
            assert [answer.status for answer in rest] == [case.status]
            assert rest[0].closes
        case "upgrade":
            assert len(rest) == 1
            assert rest[0].status in (101, 400, 426)
        case "idle" | "partial" | "close":
            assert rest == []
    if case.end != "upgrade":
        assert len(seen) == len(ordinary)


def verdicts(server: Target, mark: int, pattern: str) -> list[str]:
    return [line for line in server.server.log_since(mark) if re.search(pattern, line)]


@pytest.mark.parametrize("case", corpus.load(), ids=lambda case: case.name)
def test_corpus(server: Target, case: corpus.Case) -> None:
    mark = server.server.mark()
    first: tuple[list[Response], list[dict[str, object]]] | None = None
    rounds = 0
    for pieces in segmentations(case):
        outcome = converse(server, case, pieces)
        check(case, *outcome)
        rounds += 1
        if first is None:
            first = outcome
        elif all(request.complete for request in case.requests):
            assert outcome == first, pieces
        else:
            assert outcome[0] == first[0], pieces
    if case.end == "error":
        assert case.section is not None
        pattern = rf": {case.status}, .*\({re.escape(case.section)}\)$"
        wait_until(lambda: len(verdicts(server, mark, pattern)) == rounds, f"{rounds} × {pattern}")


@pytest.mark.parametrize("segmented", [False, True])
def test_every_request_of_the_corpus_on_one_connection(server: Target, segmented: bool) -> None:
    """Cases that leave the connection usable follow each other on one: nothing of one is left for the next."""
    cases = [case for case in corpus.load() if case.end == "idle" and all(r.complete for r in case.requests)]
    cases = [case for case in cases if all(request.keep_alive for request in case.requests) and len(case.data) < 4000]
    assert len(cases) > 50
    random.Random(7).shuffle(cases)
    server.seen()
    rng = random.Random(11)
    with connected(server.address) as connection:
        for case in cases:
            cut = rng.randrange(len(case.data) + 1) if segmented else 0
            connection.send_pieces([case.data[:cut], case.data[cut:]])
            for request in case.requests:
                assert connection.response(head_only=request.method == b"HEAD").status == 200, case.name
    wanted = [request for case in cases for request in case.requests]
    found = server.seen()
    assert len(found) == len(wanted)
    for request, record in zip(wanted, found, strict=True):
        check_request(request, record)
