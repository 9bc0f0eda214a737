"""The page at `/` of the admin address: its files, and what they show.

| file | what |
|---|---|
| `static/` | HTML, CSS and JavaScript modules, served as they are: nothing is built, nothing comes from elsewhere |
| `files.py` | the files and their types |
| `recorder.py` | readings → one document a second, and a quarter of an hour of points for the charts |
| `windows.py` | differences and percentiles of counters that only grow |

Knows no sockets, no clock and no parent; `swell.supervisor.admin.feed` asks once a second while somebody looks.
"""

from __future__ import annotations

from swell.dashboard.files import INDEX, File, file_of
from swell.dashboard.recorder import COLUMNS, KEPT_SECONDS, Recorder

__all__ = ["COLUMNS", "INDEX", "KEPT_SECONDS", "File", "Recorder", "file_of"]
