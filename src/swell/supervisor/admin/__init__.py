"""The admin application: probes, metrics, commands and the page, served by the parent on its own engine.

On the control socket always, where who connects is the owner; on TCP with --admin. Nothing here passes through the
served application, and nothing waits for a worker: probes and metrics are read from shared memory.

| file | what |
|---|---|
| `app.py` | paths → answers |
| `feed.py` | the live data of the page (`swell.dashboard`) |
| `guard.py` | who may ask, and for what |
| `health.py` | live, ready, started: pure judgements |
| `openapi.py` | the description of the interface |
| `listener.py` | the TCP socket of --admin, and the token |
"""

from __future__ import annotations
