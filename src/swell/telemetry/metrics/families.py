"""The server's metrics: their names, what they mean, and how they come from a `Snapshot`.

`http.server.*` are OpenTelemetry's stable semantic conventions for HTTP servers (1.23 and later): names, attributes and
buckets, written the way Prometheus writes them. What they do not know is `swell_*`. Labels are bounded: a worker's
gauges are labelled with its slot, which the next worker takes over, and not with its ever growing number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from swell._core import DURATION_BOUNDS
from swell.telemetry.metrics.application import application_families
from swell.telemetry.metrics.readings import COUNTERS, Kind, Snapshot, Totals, WorkerReading, rest
from swell.telemetry.metrics.text import Family, Histogram

__all__ = ["STATES", "all_families", "families"]

STATES = ("starting", "ready", "draining", "stuck")
# The scoreboard's histograms have a bucket for each power of two of microseconds: 16 µs to 16.8 s are shown.
_FIRST, _LAST = 4, 24
_BOUNDS = [2**power / 1e6 for power in range(_FIRST, _LAST + 1)]


def families(snapshot: Snapshot) -> Iterator[Family]:
    """Everything, in the order of reading."""
    totals = snapshot.ended.plus(snapshot.workers)
    yield _durations(totals)
    yield _gauge("http_server_active_requests", "Requests whose application has not returned.", snapshot, "in_flight")
    yield from _requests(totals, snapshot)
    yield from _connections(totals, snapshot)
    yield from _http2(totals, snapshot)
    yield from _loops(totals, snapshot)
    yield from _scaling(snapshot)
    yield from _each(snapshot.workers)
    yield from _instance(totals, snapshot)


def all_families(snapshot: Snapshot) -> Iterator[Family]:
    """The server's, then the application's. A name that the server has is the server's."""
    taken = set()
    for family in families(snapshot):
        taken.add(family.name)
        yield family
    yield from application_families(snapshot.application, snapshot.application_ended, taken)


def _durations(totals: Totals) -> Family:
    family = Family(
        "http_server_request_duration_seconds",
        "histogram",
        "Duration of HTTP requests, from the parsed head to the last byte of the response.",
        "seconds",
    )
    for kind, (counts, nanoseconds) in sorted(totals.requests.items()):
        family.add(Histogram(DURATION_BOUNDS, counts, nanoseconds / 1e9), _labels(kind))
    return family


def _labels(kind: Kind) -> list[tuple[str, str]]:
    method, scheme, version, status, route = kind
    labels = [("http_request_method", method), ("url_scheme", scheme)]
    if version:
        labels.append(("network_protocol_version", version))
    if status:
        labels.append(("http_response_status_code", str(status)))
    if route:
        labels.append(("http_route", route))
    if status >= 500:
        labels.append(("error_type", str(status)))
    return labels


def _requests(totals: Totals, snapshot: Snapshot) -> Iterator[Family]:
    count = totals.counters
    yield _counter("swell_requests", "Requests and WebSockets handed to the application.", count["requests"])
    responses = Family("swell_responses", "counter", "Heads of responses, interim ones included, by class of status.")
    for digit in "12345":
        responses.add(count[f"responses_{digit}xx"], [("class", f"{digit}xx")])
    yield responses
    refused = Family("swell_requests_refused", "counter", "Requests that the server refused by itself.")
    refused.add(count["overloaded"], [("reason", "overload")])
    yield refused.add(_rest(snapshot, "refused_requests"), [("reason", "request")])
    yield _counter("swell_timeouts", "Time-outs that ended a request or a connection.", count["timed_out"])
    errors = "Exceptions that left the application."
    yield _counter("swell_application_errors", errors, count["application_errors"])
    faults = "Failures inside the server that cost a connection; please report them."
    yield _counter("swell_engine_faults", faults, count["engine_faults"])
    handshakes = Family("swell_tls_handshakes", "counter", "Completed TLS handshakes.")
    handshakes.add(_rest(snapshot, "handshakes_in_full"), [("resumed", "no")])
    yield handshakes.add(count["handshakes_resumed"], [("resumed", "yes")])
    failed = Family("swell_tls_handshakes_failed", "counter", "TLS handshakes that failed, by reason.")
    for name in COUNTERS:
        if name.startswith("handshakes_") and name != "handshakes_resumed":
            failed.add(count[name], [("reason", name.removeprefix("handshakes_").replace("_", " "))])
    yield failed
    yield _gauge("swell_websockets", "Open WebSockets.", snapshot, "websockets")
    yield _counter("swell_websockets_opened", "WebSockets opened.", count["websockets_opened"])


def _connections(totals: Totals, snapshot: Snapshot) -> Iterator[Family]:
    count = totals.counters
    yield _gauge("swell_connections", "Open connections.", snapshot, "connections")
    yield _counter("swell_connections_accepted", "Connections accepted.", count["accepted"])
    handed = "Connections that a busy worker has handed to another one."
    yield _counter("swell_connections_handed_over", handed, count["handed_over"])
    taken = "Connections that a worker has taken over from another one."
    yield _counter("swell_connections_taken_over", taken, count["taken_over"])
    under_way = "Connections on their way from one worker to another."
    yield _gauge("swell_connections_incoming", under_way, snapshot, "incoming")
    lengths = Family("swell_accept_queue_length", "gauge", "Connections that wait to be accepted, by address.")
    limits = Family("swell_accept_queue_limit", "gauge", "How many may wait.")
    for queue in snapshot.queues:
        lengths.add(queue.length, [("address", queue.address)])
        limits.add(queue.limit, [("address", queue.address)])
    yield lengths
    yield limits
    received, sent = "Bytes read from clients.", "Bytes written to clients."
    yield _counter("swell_received_bytes", received, count["bytes_received"], "bytes")
    yield _counter("swell_sent_bytes", sent, count["bytes_sent"], "bytes")


def _http2(totals: Totals, snapshot: Snapshot) -> Iterator[Family]:
    count = totals.counters
    yield _gauge("swell_http2_connections", "Open connections that speak HTTP/2.", snapshot, "h2_open")
    yield _counter("swell_http2_connections_opened", "Connections that have.", count["h2_connections"])
    yield _gauge("swell_http2_streams", "Open HTTP/2 streams.", snapshot, "h2_streams_open")
    yield _counter("swell_http2_streams_opened", "HTTP/2 streams that clients have begun.", count["h2_streams"])
    resets = Family("swell_http2_resets", "counter", "HTTP/2 streams that were reset, by whom and why.")
    for side, prefix in (("client", "h2_resets_received_"), ("server", "h2_resets_sent_")):
        for name in COUNTERS:
            if name.startswith(prefix):
                resets.add(count[name], [("by", side), ("reason", name.removeprefix(prefix))])
    yield resets
    text = "HTTP/2 connections that the server has ended, by the limit that was passed, or for a broken protocol."
    closed = Family("swell_http2_connections_closed", "counter", text)
    for name in COUNTERS:
        if name.startswith("h2_closed_"):
            closed.add(count[name], [("reason", name.removeprefix("h2_closed_"))])
    yield closed


def _loops(totals: Totals, snapshot: Snapshot) -> Iterator[Family]:
    count = totals.counters
    yield Family(
        "swell_dispatch_delay_seconds",
        "histogram",
        "From the arrival of a request to the application's first step.",
        "seconds",
    ).add(_powers(totals.histograms["dispatch_delay"], count["dispatch_delay_ns"]))
    yield Family(
        "swell_loop_lag_seconds",
        "histogram",
        "How late the event loops ran a timer of ours, ten times a second.",
        "seconds",
    ).add(_powers(totals.histograms["loop_lag"], count["loop_lag_ns"]))
    looks = Family("swell_loop_samples", "counter", "Looks at the event loops' threads: were they busy or waiting?")
    looks.add(count["busy_samples"], [("state", "busy")])
    yield looks.add(_rest(snapshot, "waiting_samples"), [("state", "waiting")])
    yield _counter("swell_gc_pauses", "Pauses for the collection of garbage.", count["gc_pauses"])
    pauses = "Time in these pauses."
    yield _counter("swell_gc_pause_seconds", pauses, count["gc_pause_ns"] / 1e9, "seconds")
    for name, text in (
        ("size", "Threads of the fullest pool"),
        ("busy", "of these at work"),
        ("waiting", "calls waiting"),
    ):
        yield _gauge(f"swell_thread_pool_{name}", f"{text}, summed over the workers.", snapshot, f"pool_{name}")
    yield _counter("swell_cpu_seconds", "CPU time of the workers.", count["cpu_ns"] / 1e9, "seconds")


def _scaling(snapshot: Snapshot) -> Iterator[Family]:
    by_state = Counter(worker.state for worker in snapshot.workers)
    workers = Family("swell_workers", "gauge", "Workers by state.")
    for state in STATES:
        workers.add(by_state[state], [("state", state)])
    yield workers
    for name, value in (("target", snapshot.target), ("min", snapshot.minimum), ("max", snapshot.maximum)):
        texts = {"target": "How many workers there are to be.", "min": "At least.", "max": "At most."}
        yield Family(f"swell_workers_{name}", "gauge", texts[name]).add(value)
    rule, guard = snapshot.last
    reason = Family("swell_scaling_reason", "info", "What the latest decision about the number of workers rests on.")
    yield reason.add(1, [("rule", rule or "configured"), ("guard", guard)])
    decisions = Family("swell_scaling_decisions", "counter", "Decisions about the number of workers.")
    for (rule, direction), number in sorted(snapshot.decisions.items()):
        decisions.add(number, [("rule", rule), ("direction", direction)])
    yield decisions
    yield _counter("swell_worker_starts", "Workers started.", snapshot.starts)
    exits = Family("swell_worker_exits", "counter", "Workers that have ended, by cause.")
    for cause, number in sorted(snapshot.exits.items()):
        exits.add(number, [("cause", cause)])
    yield exits


def _each(workers: Sequence[WorkerReading]) -> Iterator[Family]:
    rows: list[tuple[Family, str]] = [
        (Family("swell_worker_connections", "gauge", "Open connections of each worker."), "connections"),
        (Family("swell_worker_active_requests", "gauge", "Running requests of each worker."), "in_flight"),
        (
            Family("swell_worker_resident_memory_bytes", "gauge", "Resident memory of each worker.", "bytes"),
            "rss_bytes",
        ),
    ]
    busy = Family("swell_worker_loop_utilization_ratio", "gauge", "How busy each event loop is, 0 to 1.", "ratio")
    age = Family("swell_worker_age_seconds", "gauge", "Since the start of each worker.", "seconds")
    heart = Family("swell_worker_silence_seconds", "gauge", "Since each event loop last came round.", "seconds")
    for worker in workers:
        labels = [("slot", str(worker.number))]
        for family, key in rows:
            family.add(worker.slot[key], labels)
        busy.add(worker.slot["busy"] / 1000, labels)
        age.add(round(worker.age, 3), labels)
        heart.add(round(worker.silence, 3), labels)
    yield from (family for family, _ in rows)
    yield from (busy, age, heart)


def _instance(totals: Totals, snapshot: Snapshot) -> Iterator[Family]:
    yield Family("swell_build", "info", "The version of Swell.").add(1, [("version", snapshot.version)])
    yield Family("swell_generation", "gauge", "How often the code was replaced, from 1.").add(snapshot.generation)
    up = Family("swell_up", "gauge", "1 while the instance serves, 0 while it starts or ends.")
    yield up.add(int(snapshot.state in ("running", "reloading", "sleeping")))
    started = "When the instance was started, Unix time."
    yield Family("process_start_time_seconds", "gauge", started, "seconds").add(snapshot.started)
    yield _counter("swell_parent_cpu_seconds", "CPU time of the parent.", snapshot.cpu, "seconds")
    memory = "Resident memory of the parent."
    yield Family("swell_parent_resident_memory_bytes", "gauge", memory, "bytes").add(snapshot.rss)


def _rest(snapshot: Snapshot, name: str) -> int:
    return snapshot.rests.get(name) or rest(name, snapshot.ended, snapshot.workers)


def _counter(name: str, text: str, value: float, unit: str = "") -> Family:
    return Family(name, "counter", text, unit).add(value)


def _gauge(name: str, text: str, snapshot: Snapshot, key: str) -> Family:
    return Family(name, "gauge", text).add(sum(worker.slot[key] for worker in snapshot.workers))


def _powers(counts: Sequence[int], nanoseconds: int) -> Histogram:
    """Bucket n ends at 2^n µs. What is below the first shown is in it, what is above the last in the endless one."""
    shown = [sum(counts[: _FIRST + 1]), *counts[_FIRST + 1 : _LAST + 1], sum(counts[_LAST + 1 :])]
    return Histogram(_BOUNDS, shown, nanoseconds / 1e9)
