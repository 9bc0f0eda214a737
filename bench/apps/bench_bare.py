"""An application on `swell.Server` in a loop of its own: no parent, nobody who looks.

Called by ``observed.py`` as ``python bench_bare.py APP PORT [SCOREBOARD]``. With the path of a new file the engine
counts there, as a worker's does; without, it does not count.
"""

import functools
import sys

import uvloop

import swell
from swell._core import Engine, Scoreboard
from swell.worker import server

if __name__ == "__main__":
    name, port, *path = sys.argv[1:]
    if path:
        board = Scoreboard.create(path[0], slots=1)
        engine = functools.partial(Engine, board=board, slot=0)
        server.Engine = engine  # type: ignore[assignment, misc]  # who has no parent has no option for a scoreboard
    config = swell.Config.make(name, host="127.0.0.1", port=int(port), access_log=False, log_level="warning")
    uvloop.run(swell.Server(config).serve())
