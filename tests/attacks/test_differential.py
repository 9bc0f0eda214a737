"""Differential: the same bytes to the running server, to Node's HTTP server and to h11. RFC 9112 §11.2.

A front server and a back server that understand the same bytes differently can be played off against each other. So
Swell must not serve a request that both others refuse, nor see another number of requests or other bodies than both.
The parser alone is compared in tests/wire; here the whole server is, with what it does to the connection.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import pytest
from support.raw import connected
from wire import corpus, mutations, oracles

from attacks.target import Target, target

SCRIPT = Path(__file__).parent / "served" / "node_server.js"
MUTATIONS = 1500
CLIENTS = 24
#: How long nothing may come before the input counts as one that leaves the server waiting, in seconds.
QUIET = (0.15, 1.5)

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

#: (method, body) of each complete request.
Requests = list[tuple[str, str]]


class Node:
    """Node's server, and what it says about each connection."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.address = ("127.0.0.1", int(process.stdout.readline()))
        self._said: Queue[dict[str, object]] = Queue()
        self._lines = process.stdout
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._lines:
            self._said.put(json.loads(line))

    def collect(self, ports: list[int]) -> dict[int, Requests]:
        found: dict[int, Requests] = {}
        while not found.keys() >= set(ports):
            try:
                said = self._said.get(timeout=15)
            except Empty:
                raise AssertionError("Node did not report all connections") from None
            port, requests = said["port"], said["requests"]
            assert isinstance(port, int)
            assert isinstance(requests, list)
            found[port] = [(request["method"], request["body"]) for request in requests if request["complete"]]
        return found


def converse(address: tuple[str, int], data: bytes, quiet: float) -> int:
    """Sends, reads until nothing comes any more, ends. Returns the client's port."""
    with connected(address) as connection:
        port = int(connection.socket.getsockname()[1])
        connection.send_pieces([data])
        connection.socket.settimeout(quiet)
        try:
            while connection.socket.recv(1 << 16):
                pass
        except OSError:
            pass
        return port


def converse_all(address: tuple[str, int], cases: list[bytes], quiet: float) -> list[int]:
    """Many at a time: most of it is waiting for whether something more comes."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda data: converse(address, data, quiet), cases))


def ask_swell(hostile: Target, cases: list[bytes], quiet: float) -> list[Requests]:
    hostile.seen()
    ports = converse_all(hostile.address, cases, quiet)
    found: dict[int, Requests] = {}
    for record in hostile.seen():
        if record.get("complete"):
            found.setdefault(record["client"][1], []).append((record["method"], record["body"]))
    return [found.get(port, []) for port in ports]


def ask_node(node: Node, cases: list[bytes], quiet: float) -> list[Requests]:
    ports = converse_all(node.address, cases, quiet)
    found = node.collect(ports)
    return [found[port] for port in ports]


def h11(data: bytes) -> Requests:
    reading = oracles.read_with_h11(data)
    return [(seen.method, seen.body) for seen in reading.requests if seen.complete]


@pytest.fixture(scope="module")
def hostile() -> Iterator[Target]:
    with target() as found:
        yield found


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    command = ["node", str(SCRIPT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield Node(process)
        finally:
            process.kill()


def inputs() -> list[bytes]:
    cases = [case.data for case in corpus.load() if len(case.data) < 4000]
    return [*cases, *mutations.mutate(cases, MUTATIONS, seed=20)]


def is_suspicious(ours: Requests, theirs: Requests, third: Requests) -> bool:
    """More requests than both others saw, or other bodies than both agree on."""
    if len(ours) > len(theirs) and len(ours) > len(third):
        return True
    for at, request in enumerate(ours[: min(len(theirs), len(third))]):
        upper = [(method.upper(), body) for method, body in (request, theirs[at], third[at])]
        if upper[1] == upper[2] != upper[0]:
            return True
    return False


def explained(data: bytes) -> str:
    """Where Swell rightly accepts what both others refuse. Empty for what is not explained."""
    methods = re.findall(rb"(?:^|\r\n|\n)([A-Za-z]+) [^\r\n]* HTTP/1\.[01]\r\n", data)
    if any(method not in KNOWN_TO_NODE for method in methods):
        return "RFC 9110 §9.1: any token is a method; llhttp has a list. h11 does not keep HTTP/1.0 connections"
    return ""


KNOWN_TO_NODE = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"}


def test_the_judgement() -> None:
    """What it is there to find: one request more, or a body that both others read otherwise."""
    one, other = ("GET", ""), ("POST", "x")
    assert is_suspicious([one, one], [one], [one])
    assert is_suspicious([one], [], [])
    assert is_suspicious([other], [("POST", "y")], [("POST", "y")])
    assert not is_suspicious([], [one], [one])
    assert not is_suspicious([one], [one], [])
    assert not is_suspicious([("GET", "")], [("get", "")], [("GET", "")])


@pytest.mark.timeout(240)
def test_no_request_that_both_others_refuse(hostile: Target, node: Node) -> None:
    cases = inputs()
    agreed = 0
    for quiet in QUIET:
        judged = zip(
            cases, ask_swell(hostile, cases, quiet), ask_node(node, cases, quiet), map(h11, cases), strict=True
        )
        suspects = []
        findings = []
        for data, ours, theirs, third in judged:
            agreed += bool(ours) and ours == theirs == third
            if is_suspicious(ours, theirs, third) and not explained(data):
                suspects.append(data)
                findings.append(f"{data!r}\n  swell {ours}\n  node  {theirs}\n  h11   {third}")
        # A slow machine may have made someone late: those are asked again, with more patience.
        cases = suspects
    assert agreed > 100, "the comparison must not be an empty one"
    assert not findings, f"{len(findings)} of {len(inputs())}:\n" + "\n".join(findings[:20])
