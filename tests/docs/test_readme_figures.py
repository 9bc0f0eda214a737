"""The README's figures are those of the stored result that it names, nothing else."""

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
