"""What the server measures, as text for Prometheus: readings of the scoreboard in, bytes out. Pure functions.

    readings     what the parent has seen: living workers, the sum of those that ended, the instance
    families     readings → families of metrics, named after OpenTelemetry's semantic conventions where they have a name
    application  the metrics of `swell.metrics` and of prometheus_client → families
    text         families → OpenMetrics 1.0 or the Prometheus text format

Knows no processes and no clock. Called by `swell.supervisor`.
"""

from __future__ import annotations

from swell.telemetry.metrics.application import SUMMED
from swell.telemetry.metrics.families import all_families, families
from swell.telemetry.metrics.readings import RESTS, Queue, Snapshot, Totals, WorkerReading, rest
from swell.telemetry.metrics.text import Family, Histogram, expose, negotiate

__all__ = [
    "RESTS", "SUMMED", "Family", "Histogram", "Queue", "Snapshot", "Totals", "WorkerReading", "all_families", "expose",
    "families", "negotiate", "rest",
]  # fmt: skip
