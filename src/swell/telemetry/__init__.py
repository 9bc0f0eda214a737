"""What a worker tells about itself: logs.

`logs` sets up Python's logging for the `swell` loggers, `access` decides where the access log goes, `formats` says how
lines look. Reads the configuration; knows nothing of the engine. Called by `swell.worker`.
"""

from __future__ import annotations

from swell.telemetry.access import AccessTarget, access_target
from swell.telemetry.logs import set_up

__all__ = ["AccessTarget", "access_target", "set_up"]
