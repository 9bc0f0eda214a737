"""Every kind of value, fed with every kind of object: it is read or refused, and what is read stays what it is."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from swell.config import OPTIONS, Option
from swell.config.kinds import Kind, addresses, directory, file, flag, integer, log_settings, off, size, text

# Objects that a file, a program or a typing mistake may hand over.
JUNK: list[object] = [
    None, True, False, 0, 1, -1, 8000, 10**400, -(10**400), 0.5, float("nan"), float("inf"), -float("inf"), 1e308,
    "", " ", "off", "none", "auto", "on", "0", "1", "-1", "30s", "64k", "a:b", "a,b", "X: y", "127.0.0.1:80",
    "10.0.0.0/8", "*", "unix", "9" * 5000, "\0", "\ud800", "unix:/\ud800", "é", "a\nb", b"bytes", b"\xff", [], [1],
    ["a", None], ["a", ["b"]], [b"x"], (), ("a", "b"), [("a", "b")], [("a", 1)], [("a", "b", "c")], {}, {"a": "b"},
    {"a": 1}, {1: 2}, set(), {"x"}, object(), object, len, timedelta(seconds=5), timedelta.max, Path("/x"), 3 + 4j,
    range(3), iter(()),
]  # fmt: skip


@pytest.mark.parametrize("option", list(OPTIONS.values()), ids=list(OPTIONS))
def test_any_object_is_read_or_refused(option: Option) -> None:
    for value in JUNK:
        try:
            result = option.kind.read(value)
        except ValueError:
            continue
        assert option.kind.read(result) == result, value
        if isinstance(result, dict) or callable(result) or option.kind.is_secret:
            continue  # handed over by programs alone, or shown to nobody: they have no spelling
        assert option.kind.read(option.show(result)) == result, value


@pytest.mark.parametrize(
    ("kind", "written", "result"),
    [
        (integer(0, 10_000), "8_000", 8000),
        (integer(-5, 5), "-5", -5),
        (off(integer(1, 5)), "Unlimited", None),
        (off(size()), "none", None),
        (flag(), " Yes ", True),
        (text(), Path("/x"), "/x"),
        (file(), Path("/x"), "/x"),
        (directory(), "", "."),
        (addresses(), ["127.0.0.1:1", "127.0.0.1:1"], ("127.0.0.1:1",)),
        (addresses(), " 127.0.0.1:1 ,, fd:3 ", ("127.0.0.1:1", "fd:3")),
        (log_settings(), "off", None),
        (log_settings(), "logging.json", "logging.json"),
    ],
)
def test_spellings(kind: Kind[object], written: object, result: object) -> None:
    assert kind.read(written) == result


def test_bounds_are_included() -> None:
    kind = integer(1, 3)
    assert [kind.read(value) for value in (1, 3)] == [1, 3]
    for value in (0, 4):
        with pytest.raises(ValueError, match="between 1 and 3"):
            kind.read(value)
    with pytest.raises(ValueError, match="between 64 and 1KiB"):
        size(64, 1024).read("63")
