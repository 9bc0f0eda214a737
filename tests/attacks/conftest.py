"""The `hostile` fixture: one server per test file and backend, with the file's `OPTIONS`. `ALSO`: more backends."""

from collections.abc import Iterator

import pytest
from support.backends import TCP, on
from support.inprocess import Backend

from attacks.target import Target, target

pytest_generate_tests = on(*TCP, scope="module")


@pytest.fixture(scope="module")
def hostile(request: pytest.FixtureRequest, backend: Backend) -> Iterator[Target]:
    with target(*getattr(request.module, "OPTIONS", ()), backend=backend) as found:
        yield found
        assert found.is_serving()
