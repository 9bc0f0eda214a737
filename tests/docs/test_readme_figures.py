"""The READMEs' figures are those of the stored result that it names, nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_is_the_stored_results() -> None:
    _, _, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- bench -->")
    section = rest.partition("<!-- /bench -->")[0]
    (name,) = re.findall(r"\(bench/results/([^)]+\.json)\)", section)
    command = [sys.executable, "bench/run.py", "--render", f"bench/results/{name}"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert [line for line in shown.splitlines() if line.startswith("|")] == rows


def table(lines: list[str]) -> list[list[str]]:
    """The cells of a table's rows; the first row is its head."""
    rows = [line for line in lines if line.startswith("|") and not line.startswith("|-")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def between(file: str) -> str:
    _, _, rest = (ROOT / file).read_text(encoding="utf-8").partition("<!-- lifecycle -->\n")
    return rest.partition("<!-- /lifecycle -->")[0]


def test_the_tables_of_the_lifecycle_are_the_stored_results() -> None:
    section = between("bench/README.md")
    (name,) = re.findall(r"\(results/([^)]+\.json)\)", section)
    command = [sys.executable, "bench/lifecycle.py", "--render", f"bench/results/{name}"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True).stdout
    whole = table(shown.splitlines())
    assert len(whole) > 20
    assert table(section.splitlines()) == whole
    short = table(between("README.md").splitlines())
    columns = [whole[0].index(title) for title in short[0]]
    assert len(short) > 8
    for row in short[1:]:
        assert row in [[line[column] for column in columns] for line in whole]
