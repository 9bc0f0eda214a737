"""An application on `swell.Server` in a loop of its own: no parent, no scoreboard, nobody who looks.

Called by ``observed.py`` as ``python bench_bare.py APP PORT``.
"""

import sys

import uvloop

import swell

if __name__ == "__main__":
    name, port = sys.argv[1:]
    config = swell.Config.make(name, host="127.0.0.1", port=int(port), access_log=False, log_level="warning")
    uvloop.run(swell.Server(config).serve())
