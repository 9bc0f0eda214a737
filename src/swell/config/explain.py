"""The table of options as text: the help of a command, and every effective value with where it came from.

Pure: makes strings, prints nothing. Called by `swell.cli`.
"""

from __future__ import annotations

import textwrap
from typing import Any

from swell.config.layers import DEFAULT, Effective
from swell.config.model import OPTIONS
from swell.config.option import Option
from swell.config.sections import SECTIONS

__all__ = ["effective_as_data", "effective_as_text", "option_help"]

_COLUMN = 30


def entry(left: str, right: str, width: int) -> str:
    """A term and its explanation, wrapped beside each other, or below each other if the term is long."""
    lines = textwrap.wrap(right, max(width - _COLUMN, 24), break_on_hyphens=False) or [""]
    head = f"  {left}"
    if len(head) > _COLUMN - 2:
        return "\n".join([head, *(" " * _COLUMN + line for line in lines)])
    return "\n".join([head.ljust(_COLUMN) + lines[0], *(" " * _COLUMN + line for line in lines[1:])]).rstrip()


def option_help(width: int) -> str:
    """Every option, section by section."""
    blocks = []
    for section in SECTIONS:
        rows = [entry(_term(option), _explanation(option), width) for option in OPTIONS.values()
                if option.section == section.title and option.name != "app"]  # fmt: skip
        blocks.append("\n".join([f"{section.title}:", *rows]))
    return "\n\n".join(blocks)


def _term(option: Option) -> str:
    if option.is_switch:
        return f"{option.flag}, --no-{option.flag[2:]}"
    return f"{option.flag} {option.kind.metavar}"


def _explanation(option: Option) -> str:
    shown = option.show(option.default)
    return f"{option.row.help} [{shown}]" if shown else option.row.help


def effective_as_text(effective: Effective) -> str:
    """One aligned line per option: name, value, origin. Those that were set are marked with `*`."""
    rows = [
        (name, option.show(getattr(effective.config, name)) or '""', effective.origins[name])
        for name, option in OPTIONS.items()
    ]
    names = max(len(name) for name, _, _ in rows)
    values = min(max(len(value) for _, value, _ in rows), 40)
    return "\n".join(
        f"{' ' if origin == DEFAULT else '*'} {name:<{names}}  {value.replace(chr(10), '; '):<{values}}  {origin}"
        for name, value, origin in rows
    )


def effective_as_data(effective: Effective) -> dict[str, Any]:
    """The same for JSON: durations in seconds, sizes in bytes, `null` for off."""
    options: dict[str, dict[str, object]] = {}
    for name, option in OPTIONS.items():
        value = getattr(effective.config, name)
        options[name] = {
            "value": option.show(value) if callable(value) or (option.kind.is_secret and value) else value,
            "text": option.show(value),
            "source": effective.origins[name],
            "section": option.section,
        }
    return {"options": options, "notes": list(effective.notes)}
