"""What the pages for readers say of options, files and each other is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swell.config import OPTIONS
from swell.config.docs import MOVING, with_table
from swell.config.foreign import FOREIGN, SHARED

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
# Flags of commands, and of programs that are not Swell.
OTHERS = {"--config", "--format", "--help", "--init", "--json", "--kill-whom", "--quick", "--signal", "--version"}


def test_the_table_about_uvicorn_is_up_to_date() -> None:
    text = (ROOT / "docs" / MOVING).read_text(encoding="utf-8")
    assert with_table(text) == text, "run: python -m swell.config.docs docs"


def test_the_table_about_uvicorn_is_complete() -> None:
    text = (ROOT / "docs" / MOVING).read_text(encoding="utf-8")
    assert not set(SHARED) & set(FOREIGN)
    for flag in [*(OPTIONS[name].flag for name in SHARED), *(foreign.flag for foreign in FOREIGN.values())]:
        assert f"`{flag}`" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_part_of_the_engine_stands_in_its_table() -> None:
    table = (ROOT / "crates/engine/README.md").read_text(encoding="utf-8")
    for part in (ROOT / "crates/engine/src").iterdir():
        if part.name != "lib.rs":
            assert f"`{part.name}{'/' if part.is_dir() else ''}`" in table, part.name


@pytest.mark.parametrize("name", ["README.md", "docs/asgi.md", "docs/operating.md", "docs/security.md"])
def test_options_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    known = {option.flag for option in OPTIONS.values()} | OTHERS
    known |= {f"--no-{option.flag[2:]}" for option in OPTIONS.values() if option.is_switch}
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text):
        assert flag in known, flag
