"""Metrics of the application, of all workers at once.

    from swell.metrics import Counter, Gauge, Histogram

    ORDERS = Counter("shop_orders", "Orders placed.", ["kind"])
    ORDERS.labels("web").inc()

They are in shared memory, and `/metrics` of the admin interface has their sums (docs/metrics.md). In a process that no
parent has started (a script, a test, `swell.Server` in a loop of one's own) they count like any others, for nobody.
Code that uses the library prometheus_client goes on using it: see `swell.metrics.prometheus`.
"""

from __future__ import annotations

from swell.metrics.instruments import Counter, Gauge, Histogram

__all__ = ["Counter", "Gauge", "Histogram"]
