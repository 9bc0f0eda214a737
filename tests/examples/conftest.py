"""The `server` fixture for the example that the test file's `APP` names, once per event loop."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from apps.conftest import LOOPS
from apps.running import RunningServer, running

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    env = {"BOOKS_DB": str(tmp_path_factory.mktemp("books") / "books.sqlite3")}
    with running(request.module.APP, request.param, directory=REPOSITORY, env=env) as started:
        yield started
