"""What holds for every test: servers that tests start keep their files to themselves."""

import signal
from collections.abc import Iterator

import pytest

# A shell starts background jobs with Ctrl-C ignored, nohup(1) with SIGHUP, which servers would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _own_directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands and other servers on this machine do not meet the instances of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SWELL_RUNTIME_DIR", "SWELL_STATE_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower().rpartition("_")[0])))
        yield
