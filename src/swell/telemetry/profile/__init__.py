"""Profiles as documents, as tables and as flame graphs.

A document has `unit` (samples or bytes), `seconds`, `sampler`, `frames` ([function, file, first line] each) and
`stacks` ([count, [numbers of frames, the outermost first]] each); `lines` ([count, function, file, line, code]) where
they are known. `table` sums it up, `flame` draws it. Pure; the documents come from `swell.worker.insight.profile` or
from py-spy.
"""

from __future__ import annotations

from swell.telemetry.profile.flame import flame
from swell.telemetry.profile.table import Hot, from_raw, hottest, summary, trimmed

__all__ = ["Hot", "flame", "from_raw", "hottest", "summary", "trimmed"]
