"""Settings of the property tests: the same examples in every run, no time limit of their own, nothing stored."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "swell", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("swell")
