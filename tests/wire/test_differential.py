"""Does Swell read bytes as others do? Against h11 and llhttp, over the corpus and over generated changes to it.

Two readers of one connection agree when they see the same requests and both refuse at the same place or both do not.
Where they do not, Swell must be the stricter one, by a rule that is named below with the reason; the few cases in which
Swell accepts what another reader refuses, or sees something else, are named one by one. A disagreement that no entry
explains fails the test, and so does an entry that explains nothing.

A reader may refuse a message before it is complete or wait for its end, so a disagreement only counts when it is still
there with an empty line behind the bytes.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from . import corpus, mutations, oracles
from .oracles import Reading, Seen

#: Changed inputs on top of the corpus, and the number that makes them the same ones in each run.
MUTATIONS = 30_000
SEED = 20_240_607

COMPLETION = b"\r\n\r\n"

#: Rules by which Swell refuses what the other reader accepts or reads differently, with the reason.
STRICTER: dict[str, dict[str, str]] = {
    "h11": {
        "AsteriskMethod": "h11 leaves the meaning of targets to the server",
        "BadTarget": "h11 leaves the meaning of targets to the server",
        "BadTargetByte": "h11 takes a fragment",
        "BadTargetAuthority": "h11 leaves the meaning of targets to the server",
        "ConnectRefused": "h11 leaves CONNECT to the server",
        "HostBad": "h11 does not look into host",
        "HostMismatch": "h11 leaves the meaning of targets to the server",
        "ExpectationUnknown": "h11 leaves expectations to the server",
        "UnsupportedVersion": "h11 takes any digit.digit",
        "BareLf": "h11 ends lines at LF with or without CR",
        "FieldFolded": "h11 joins folded lines",
        "FieldBadValue": "h11 lets some control characters through",
        "LengthAndCoding": "h11 lets transfer-encoding win and stays open",
        "TransferEncodingOn10": "h11 decodes chunks in HTTP/1.0",
        "ContentLengthBad": "h11 merges a list of equal lengths and takes 20 digits",
        "ContentLengthTwice": "h11 merges equal lengths",
        "ChunkSizeBad": "h11 takes 20 digits and whitespace behind them",
        "ChunkLineEnd": "h11 does not look for a CR inside of chunk extensions",
        "ChunkExtensionBad": "h11 reads over extensions without a grammar",
        "ChunkExtensionTooLong": "h11 has one limit for everything",
        "TrailerForbidden": "h11 hands all trailers to the server",
        "TrailersTooLarge": "h11 has one limit for everything",
        "TooManyFields": "h11 has no limit on their number",
        "HeadTooLarge": "h11 applies its limit to incomplete heads only",
        "RequestLineTooLong": "h11 has one limit for everything",
    },
    "llhttp": {
        "AsteriskMethod": "llhttp takes * for every method",
        "BadRequestLine": "llhttp skips several spaces",
        "BadTarget": "llhttp takes any scheme",
        "BadTargetAuthority": "llhttp does not look into the authority",
        "BadTargetByte": "llhttp takes a fragment",
        "ConnectRefused": "llhttp leaves CONNECT to the server",
        "HostBad": "llhttp does not look into host",
        "HostMismatch": "llhttp leaves the meaning of targets to the server",
        "HostMissing": "llhttp leaves host to the server",
        "HostTwice": "llhttp leaves host to the server",
        "ExpectationUnknown": "llhttp leaves expectations to the server",
        "UnsupportedVersion": "llhttp takes HTTP/0.9 and HTTP/2.0",
        "BareLf": "llhttp skips line ends in front of a request",
        "BareCr": "llhttp skips line ends in front of a request",
        "EmptyLines": "llhttp skips any number of them",
        "TransferEncodingBad": "llhttp takes empty list members",
        "TransferEncodingUnknown": "llhttp takes any coding before chunked",
        "TransferEncodingOn10": "llhttp decodes chunks in HTTP/1.0",
        "ContentLengthBad": "llhttp takes any number of leading zeros",
        "ChunkSizeBad": "llhttp takes any number of leading zeros",
        "ChunkExtensionBad": "llhttp takes an empty value and any escape",
        "ChunkExtensionTooLong": "llhttp has no limit on extensions",
        "TrailerForbidden": "llhttp hands all trailers to the server",
        "TrailersTooLarge": "llhttp's limit is above this input",
        "TooManyFields": "llhttp has no limit on their number",
        "HeadTooLarge": "llhttp's limit was raised for the comparison",
        "RequestLineTooLong": "llhttp's limit was raised for the comparison",
    },
}

Excuse = Callable[[bytes, Reading, Reading], bool]


def _saw_no_other(ours: Reading, requests: list[Seen]) -> bool:
    """Whether the other reader's requests are the first of ours."""
    return requests == ours.requests[: len(requests)]


def _http10_closes(_data: bytes, ours: Reading, other: Reading) -> bool:
    """h11 closes after every HTTP/1.0 request; ``Connection: keep-alive`` is read by Swell as RFC 9112 §9.3 says."""
    closed = other.end == "end" and bool(other.requests) and other.requests[-1].version == "1.0"
    return closed and _saw_no_other(ours, other.requests)


def _leading_empty_line(_data: bytes, ours: Reading, other: Reading) -> bool:
    """h11 refuses an empty line before a request; RFC 9112 §2.2 asks servers to skip one."""
    return other.reason == "no request line received" and _saw_no_other(ours, other.requests)


def _closed_list_of_methods(_data: bytes, ours: Reading, other: Reading) -> bool:
    """llhttp knows a fixed list of methods; RFC 9110 §9.1 leaves it open."""
    return other.reason.startswith("HPE_INVALID_METHOD") and _saw_no_other(ours, other.requests)


def _tab_behind_value(data: bytes, _ours: Reading, other: Reading) -> bool:
    """llhttp takes no HTAB behind these values; RFC 9112 §5 allows optional whitespace."""
    value = re.compile(rb"(?i)(content-length|transfer-encoding|connection):[ \t]*[-0-9a-z]+ *\t")
    reasons = ("HPE_INVALID_CONTENT_LENGTH", "HPE_INVALID_TRANSFER_ENCODING", "HPE_CLOSED_CONNECTION")
    return other.reason.startswith(reasons) and bool(value.search(data))


def _stops_at_upgrade(_data: bytes, ours: Reading, other: Reading) -> bool:
    """llhttp stops reading at any upgrade and leaves the decision to the server; Swell ignores all but WebSocket."""
    stopped = bool(other.requests) and any(name == "upgrade" for name, _ in other.requests[-1].fields)
    return stopped and _saw_no_other(ours, other.requests[:-1])


#: Why Swell may accept what another reader refuses, or see something else.
EXCUSES: dict[str, tuple[Excuse, ...]] = {
    "h11": (_http10_closes, _leading_empty_line),
    "llhttp": (_closed_list_of_methods, _tab_behind_value, _stops_at_upgrade),
}


def _differing(ours: Reading, other: Reading) -> tuple[list[Seen], list[Seen]]:
    """What is left of both rows of requests behind the common part."""
    common = 0
    while common < min(len(ours.requests), len(other.requests)) and ours.requests[common] == other.requests[common]:
        common += 1
    return ours.requests[common:], other.requests[common:]


def explain(name: str, data: bytes, ours: Reading, other: Reading) -> str | None:
    """How the two readings go together: ``agree``, the rule or excuse that explains them, ``None`` for nothing."""
    our_rest, other_rest = _differing(ours, other)
    refused = ours.end == "error" and not any(seen.complete for seen in our_rest)
    if refused and other.end == "error" and not any(seen.complete for seen in other_rest):
        return "agree"
    if ours.end != "error" and not our_rest and (ours.end == "end" or (other.end != "error" and not other_rest)):
        # Behind the end of a connection Swell reads nothing, so there is nothing to compare.
        return "agree"
    for excuse in EXCUSES[name]:
        if excuse(data, ours, other):
            return excuse.__name__
    return ours.reason if refused and ours.reason in STRICTER[name] else None


@pytest.fixture(scope="module")
def oracle() -> Path:
    return oracles.build_swell_oracle()


@pytest.fixture(scope="module")
def cases() -> list[bytes]:
    seeds = [case.data for case in corpus.load()]
    return [*seeds, *mutations.mutate(seeds, MUTATIONS, SEED)]


def read_with_h11(cases: list[bytes]) -> list[Reading]:
    return [oracles.read_with_h11(case) for case in cases]


def check(name: str, oracle: Path, cases: list[bytes], read: Callable[[list[bytes]], list[Reading]]) -> Counter[str]:
    """Compares all cases and returns how often each explanation was needed."""

    def compare(inputs: list[bytes]) -> list[str | None]:
        readings = zip(inputs, oracles.read_with_swell(oracle, inputs), read(inputs), strict=True)
        return [explain(name, data, ours, other) for data, ours, other in readings]

    found = dict(zip(cases, compare(cases), strict=True))
    open_questions = [data for data, explanation in found.items() if explanation != "agree"]
    completed = compare([data + COMPLETION for data in open_questions])
    found |= {data: now for data, now in zip(open_questions, completed, strict=True) if now == "agree"}
    unexplained = [data for data, explanation in found.items() if explanation is None]
    assert not unexplained, f"{len(unexplained)} not explained, the first: {unexplained[:5]}"
    return Counter(explanation for explanation in found.values() if explanation is not None)


def check_all_needed(name: str, used: Counter[str]) -> None:
    listed = {*STRICTER[name], *(excuse.__name__ for excuse in EXCUSES[name])}
    assert listed <= set(used), f"explains nothing: {sorted(listed - set(used))}"
    assert used["agree"] > 0.5 * used.total(), used


@pytest.mark.timeout(900)
def test_swell_and_h11_agree_or_the_difference_is_explained(oracle: Path, cases: list[bytes]) -> None:
    check_all_needed("h11", check("h11", oracle, cases, read_with_h11))


@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("node") is None, reason="llhttp is asked through Node")
def test_swell_and_llhttp_agree_or_the_difference_is_explained(oracle: Path, cases: list[bytes]) -> None:
    check_all_needed("llhttp", check("llhttp", oracle, cases, oracles.read_with_llhttp))


def test_a_disagreement_is_noticed() -> None:
    """The comparison itself: readers that see other bodies, other requests or another end do not agree."""
    seen = Seen("GET", "/", "1.1", (), "", complete=True)
    more = Seen("GET", "/", "1.1", (), "body", complete=True)
    assert explain("h11", b"", Reading([seen]), Reading([seen])) == "agree"
    assert explain("h11", b"", Reading([seen]), Reading([more])) is None
    assert explain("h11", b"", Reading([seen, seen]), Reading([seen])) is None
    assert explain("h11", b"", Reading([seen]), Reading([], "error", "x")) is None
    assert explain("h11", b"", Reading([more], "error", "BareLf"), Reading([seen], "error", "x")) is None
    assert explain("h11", b"", Reading([seen], "error", "BareLf"), Reading([seen, seen])) == "BareLf"
