"""The table, and the stored result it is made from. Called by `run.py`, also for results of earlier runs."""

import json
from pathlib import Path
from typing import Any

from rig.scenarios import SCENARIOS
from rig.servers import BY_NAME

HEAD = ("scenario", "server", "CPU µs", "× Swell", "per second", "p50 ms", "p99 ms", "syscalls", "memory MB", "note")
CLIENT_SATURATED = 0.95


def store(document: dict[str, Any], directory: Path, prefix: str = "") -> Path:
    """Keep the result; its name tells of what, when and of which commit."""
    directory.mkdir(exist_ok=True)
    stamp = document["date"].replace(":", "").replace("T", "-").removesuffix("Z")
    path = directory / f"{prefix}{stamp}-{document['commit']['commit']}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _reference(rows: list[dict[str, Any]], scenario: str) -> float | None:
    """Swell's figure on stock asyncio, to which the others are set in relation."""
    for row in rows:
        if row["scenario"] == scenario and row["server"] == "swell-asyncio":
            value: float | None = row["bytes_per_connection"] if scenario == "idle" else row["cpu_us"]
            return value
    return None


def _memory(row: dict[str, Any]) -> str:
    """Of all processes of the server, what they share counted once."""
    size = row["pss_bytes"] or row["rss_bytes"]
    return _number(size / 1e6) if size else ""


def _cells(row: dict[str, Any], title: str, unit: str, rows: list[dict[str, Any]]) -> list[str]:
    server = BY_NAME[row["server"]].title
    if row["failure"]:
        return [title, server, *[""] * 7, f"failed: {row['failure'].replace('|', '/')[:60]}"]
    memory = _memory(row)
    reference = _reference(rows, row["scenario"])
    if row["scenario"] == "idle":
        ratio = _number(row["bytes_per_connection"] / reference, 2) if reference else ""
        note = f"{row['bytes_per_connection']:,.0f} bytes each, {row['idle_cpu_share']:.1%} CPU"
        return [title, server, "", ratio, "", "", "", "", memory, note]
    ratio = _number(row["cpu_us"] / reference, 2) if reference else ""
    notes = [] if unit == "request" else [f"per {unit}"]
    if row["client_cpu_share"] >= CLIENT_SATURATED:
        notes.append("client saturated: compare CPU, not rate")
    p50, p99 = (_number(row[name] / 1000, 2) for name in ("p50_us", "p99_us"))
    rate, syscalls = _number(row["per_second"], 0), _number(row["syscalls"], 2)
    return [title, server, _number(row["cpu_us"]), ratio, rate, p50, p99, syscalls, memory, "; ".join(notes)]


def table(document: dict[str, Any]) -> str:
    """All rows as one Markdown table, aligned for the terminal."""
    rows: list[dict[str, Any]] = document["rows"]
    lines = [list(HEAD)]
    for scenario in SCENARIOS:
        title = scenario.title
        for row in rows:
            if row["scenario"] == scenario.name:
                lines.append(_cells(row, title, scenario.unit, rows))
                title = ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    right = range(2, 9)

    def text(line: list[str]) -> str:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return f"| {' | '.join(cells)} |"

    rules = ["-" * (width + 1) + (":" if column in right else "-") for column, width in enumerate(widths)]
    return "\n".join([text(lines[0]), f"|{'|'.join(rules)}|", *(text(line) for line in lines[1:])])


def heading(document: dict[str, Any]) -> str:
    """One paragraph on what, where and when."""
    machine, settings, versions = document["machine"], document["settings"], document["versions"]
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    changed = " (with uncommitted changes)" if document["commit"]["changed"] else ""
    return (
        f"{document['date']}, commit {document['commit']['commit']}{changed}; {machine['cpu']}, "
        f"{machine['cores']} cores{' (virtual)' if machine['virtual'] else ''}, {machine['system']}, "
        f"kernel {machine['kernel']}; "
        f"medians of {settings['rounds']} rounds of {settings['seconds']:g} s; "
        f"load average at the start {document['load_average']}.\n{names}"
    )


def put_into_readme(stored: Path, readme: Path) -> None:
    """Replace what stands between the README's two marks by the table of a stored result."""
    document = json.loads(stored.read_text())
    begin, end = "<!-- bench -->", "<!-- /bench -->"
    before, _, rest = readme.read_text().partition(begin)
    _, _, after = rest.partition(end)
    link = f"Stored as [bench/results/{stored.name}](bench/results/{stored.name})."
    lines = [heading(document), "", link, "", table(document)]
    readme.write_text("\n".join([before + begin, *lines, end]) + after)
