"""The rooms of the house: imports point one way, and every package is a known room (ARCHITECTURE.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "swell"

# What each room may import of the others. `errors` is open to all.
ALLOWED = {
    "config": set[str](),
    "scaling": {"config"},
    "metrics": set[str](),
    "telemetry": {"config", "_core"},
    "worker": {"config", "metrics", "telemetry", "_core"},
    "supervisor": {"config", "metrics", "telemetry", "worker", "scaling", "dashboard", "_core"},
    "dashboard": {"config", "telemetry", "_core"},
    "cli": {"config", "telemetry", "worker", "supervisor", "scaling", "dashboard", "_core"},
}
OPEN = {"errors", "__version__"}


def rooms() -> list[str]:
    return sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))


def imports_of(room: str) -> Iterator[tuple[str, str]]:
    for path in (SOURCE / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                parts = name.split(".")
                if parts[0] == "swell" and len(parts) > 1:
                    yield str(path.relative_to(SOURCE)), parts[1]


def test_every_room_is_known() -> None:
    assert set(rooms()) <= set(ALLOWED)


@pytest.mark.parametrize("room", rooms())
def test_imports_point_one_way(room: str) -> None:
    wrong = {(path, target) for path, target in imports_of(room) if target not in ALLOWED[room] | OPEN | {room}}
    assert not wrong


def test_the_stub_is_the_only_view_of_the_native_module() -> None:
    assert (SOURCE / "_core.pyi").is_file()
    assert (SOURCE / "py.typed").is_file()
