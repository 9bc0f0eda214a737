"""The soft limit of open files is raised at start."""

import re
import resource
from pathlib import Path

import pytest

from worker.launching import launched, wait_listening


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 512, reason="the hard limit is too low to tell")
def test_soft_limit_of_open_files_is_raised_to_the_hard_one() -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512))

    options = ["--port", "0", "--log-level", "debug"]
    with launched("plain:app", *options, before_start=lower) as server:
        wait_listening(server)
        limits = Path(f"/proc/{server.pid}/limits").read_text()
        assert re.search(r"Max open files\s+512\s+512", limits), limits
        server.wait_for_log("limit of open files was raised from 256 to 512")
        server.stop()
