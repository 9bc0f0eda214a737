"""Numbers of workers: what is read, what is refused, and that showing and reading are inverse."""

import pytest

from swell.config.workers import WorkerRange, read_workers, show_workers


@pytest.mark.parametrize(
    ("value", "expected", "shown"),
    [
        ("4", WorkerRange(4, 4), "4"),
        (4, WorkerRange(4, 4), "4"),
        ("1..8", WorkerRange(1, 8), "1..8"),
        ("1-8", WorkerRange(1, 8), "1..8"),
        ([2, 3], WorkerRange(2, 3), "2..3"),
        ("0..4", WorkerRange(0, 4), "0..4"),
        ("auto", WorkerRange(1, None), "auto"),
        ("2..auto", WorkerRange(2, None), "2..auto"),
        (WorkerRange(1, 2), WorkerRange(1, 2), "1..2"),
    ],
)
def test_read_and_show(value: object, expected: WorkerRange, shown: str) -> None:
    assert read_workers(value) == expected
    assert show_workers(expected) == shown
    assert read_workers(shown) == expected


@pytest.mark.parametrize("value", ["", "0", "4..2", "0..0", "many", "1..", "257", "-1", True, 1.5, [1, 2, 3], None])
def test_what_is_no_number_of_workers(value: object) -> None:
    with pytest.raises(ValueError, match=r"^(must|has)"):
        read_workers(value)


@pytest.mark.parametrize(
    ("asked", "cores", "expected"),
    [
        (WorkerRange(1, None), 4, WorkerRange(1, 4)),
        (WorkerRange(3, None), 2, WorkerRange(3, 3)),
        (WorkerRange(0, None), 0, WorkerRange(0, 1)),
        (WorkerRange(1, 8), 2, WorkerRange(1, 8)),
    ],
)
def test_auto_follows_the_cores(asked: WorkerRange, cores: int, expected: WorkerRange) -> None:
    assert asked.within(cores) == expected
