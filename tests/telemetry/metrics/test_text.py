"""Families as text, read back by prometheus_client's parsers. OpenMetrics 1.0; Prometheus text format 0.0.4."""

from __future__ import annotations

import math

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from swell.telemetry.metrics import Family, Histogram, expose, negotiate
from swell.telemetry.metrics.text import OPENMETRICS, PROMETHEUS

FAMILIES = [
    Family("requests", "counter", 'All "requests",\nso \\far').add(3, {"route": 'a "b"\\c\nd', "x": ""}),
    Family("cpu_seconds", "counter", "CPU", "seconds").add(0.125),
    Family("workers", "gauge", "Workers").add(2, [("state", "ready")]).add(math.inf).add(1e-07, {"state": "ä"}),
    Family("took_seconds", "histogram", "Took", "seconds").add(Histogram([0.1, 1.0], [1, 0, 2], 9.5), {"a": "b"}),
    Family("build", "info", "Build").add(1, {"version": "1"}),
    Family("nothing", "counter", "Left out"),
]


def test_openmetrics_is_what_its_parser_reads() -> None:
    text = expose(FAMILIES, OPENMETRICS).decode()
    assert text.endswith("# EOF\n")
    found = {family.name: family for family in read_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert {name: (family.type, family.unit) for name, family in found.items()} == {
        "requests": ("counter", ""),
        "cpu_seconds": ("counter", "seconds"),
        "workers": ("gauge", ""),
        "took_seconds": ("histogram", "seconds"),
        "build": ("info", ""),
    }
    (requests,) = found["requests"].samples
    assert (requests.name, requests.labels, requests.value) == (
        "requests_total",
        {"route": 'a "b"\\c\nd', "x": ""},
        3,
    )
    assert found["requests"].documentation == 'All "requests",\nso \\far'
    assert [(sample.name, sample.labels.get("le"), sample.value) for sample in found["took_seconds"].samples] == [
        ("took_seconds_bucket", "0.1", 1),
        ("took_seconds_bucket", "1.0", 1),
        ("took_seconds_bucket", "+Inf", 3),
        ("took_seconds_sum", None, 9.5),
        ("took_seconds_count", None, 3),
    ]


def test_the_older_format_is_what_its_parser_reads() -> None:
    text = expose(FAMILIES).decode()
    assert "EOF" not in text
    assert "UNIT" not in text
    values = {sample.name: sample.value for family in read_prometheus(text) for sample in family.samples}
    assert values["requests_total"] == 3
    assert values["cpu_seconds_total"] == 0.125
    assert values["build_info"] == 1
    assert "# TYPE requests_total counter" in text
    assert 'workers{state="ä"} 1e-07' in text


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("text/plain", PROMETHEUS),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; q=0.4, text/plain;q=0.5", PROMETHEUS),
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
            "text/plain;version=0.0.4;q=0.4,*/*;q=0.3",
            OPENMETRICS,
        ),
        ("application/openmetrics-text;q=0", PROMETHEUS),
        (";;,q=x", PROMETHEUS),
    ],
)
def test_the_accept_field_decides(accept: str, expected: str) -> None:
    assert negotiate(accept) == expected
