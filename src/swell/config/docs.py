"""The tables of the documentation, made from the table of options: `python -m swell.config.docs [--check] [DIRECTORY]`.

Writes `options.md` and `limits.md`, and the table inside `moving-from-uvicorn.md`. Tests call `pages` and `with_table`
and compare, so that the documentation cannot fall behind.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from swell.config.foreign import FOREIGN, SHARED, Foreign
from swell.config.model import OPTIONS
from swell.config.option import Option
from swell.config.sections import SECTIONS

__all__ = ["MOVING", "main", "pages", "with_table"]

MOVING = "moving-from-uvicorn.md"

_MADE = "<!-- Made by `python -m swell.config.docs`: change src/swell/config/sections instead. -->"

_OPTIONS_HEAD = f"""\
{_MADE}

# Options

Every option has one name, written four ways:

| where | how | example |
|---|---|---|
| command line | `--name value` | `swell main:app --timeout-keep-alive 90s` |
| environment | `SWELL_NAME` | `SWELL_TIMEOUT_KEEP_ALIVE=90s` |
| `swell.toml`, or `[tool.swell]` in `pyproject.toml` | `name = value`, `-` or `_` | `timeout-keep-alive = "90s"` |
| Python | `name=value` | `swell.run(app, timeout_keep_alive=90)` |

The command line wins over the environment, which wins over the file, which wins over the defaults. `swell config`
prints every effective value and where it came from. An unknown name is refused, with the nearest one; so is every
variable that begins with `SWELL_` and names no option. An empty variable counts as not set.

- **Durations** are seconds, or `30s`, `1m30s`, `500ms`, `2h`.
- **Sizes** are bytes, or `64k`, `64KiB`, `16MiB` (powers of 1024), `16MB` (powers of 1000).
- **`off`** or `none` disables a limit or a time-out that says "or off".
- **Switches** are `--name` and `--no-name` on the command line, `on` and `off` elsewhere.
- **Lists** are repeated flags on the command line, arrays in TOML; in the environment commas separate them (line ends
  for `SWELL_HEADER`).
- **Addresses**: the topmost place that names one settles it. `--uds` on the command line needs nothing against a `port`
  in the file; two ways in the same place contradict each other.
- **The file** is looked for in the current directory, `swell.toml` first. `--config FILE` or `SWELL_CONFIG` names
  another, `--config off` none.
"""

_FOREIGN_HEAD = """\
## uvicorn's options that Swell does not have

They are known by name. Those that would change what the server does are refused, with this reason; harmless ones are
accepted.

| Option | What happens |
|---|---|
"""

_LIMITS_HEAD = f"""\
{_MADE}

# Limits and time-outs

What a peer may ask for, how long things may take, and what happens beyond. They are on by default, except where only
the application can know.

| Option | Default | What is limited | Beyond it | Why this default |
|---|---|---|---|---|
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _row(*cells: str) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |\n"


def _default(option: Option) -> str:
    shown = option.show(option.default)
    return f"`{shown}`" if shown else "none"


def _meaning(option: Option) -> str:
    parts = [option.row.help]
    if option.row.why:
        parts.append(f"*{option.row.why}*")
    if option.row.uvicorn:
        parts.append(f"Differs: {option.row.uvicorn}.")
    if option.row.environment:
        parts.append(f"Also read from {', '.join(f'`{name}`' for name in option.row.environment)}.")
    return " ".join(parts)


def _options() -> Iterable[str]:
    yield _OPTIONS_HEAD
    for section in SECTIONS:
        yield f"\n## {section.title}\n\n| Option | Type | Default | Meaning |\n|---|---|---|---|\n"
        for option in OPTIONS.values():
            if option.section == section.title:
                flag = "APP" if option.name == "app" else option.flag
                yield _row(f"`{flag}`", option.kind.label, _default(option), _meaning(option))
    yield "\n" + _FOREIGN_HEAD
    for foreign in FOREIGN.values():
        yield _row(f"`{foreign.flag}`", _fate(foreign))


def _fate(foreign: Foreign) -> str:
    values = [f"`{value}`" for value in foreign.accepted if value]
    accepted = [f"{', '.join(values)} accepted"] if values else []
    if (note := foreign.accepted.get(None)) is not None:
        accepted.append(f"accepted{': ' + note if note else ''}")
    refused = [f"{'otherwise ' if accepted else ''}refused: {foreign.refusal}"] if foreign.refusal else []
    return "; ".join(accepted + refused)


def _limits() -> Iterable[str]:
    yield _LIMITS_HEAD
    for option in OPTIONS.values():
        if option.row.answer:
            yield _row(f"`{option.flag}`", _default(option), option.row.help, option.row.answer, option.row.why)


def pages() -> dict[str, str]:
    """The files' names and contents."""
    return {"options.md": "".join(_options()), "limits.md": "".join(_limits())}


def _moving() -> Iterable[str]:
    same = [f"`{OPTIONS[name].flag}`" for name in SHARED if not OPTIONS[name].row.uvicorn]
    yield f"\n**The same**: {', '.join(same)}.\n\n| The same name, with a difference | |\n|---|---|\n"
    for name in SHARED:
        if OPTIONS[name].row.uvicorn:
            yield _row(f"`{OPTIONS[name].flag}`", f"{OPTIONS[name].row.uvicorn}.")
    yield "\n| Not in Swell | |\n|---|---|\n"
    fates: dict[str, list[str]] = {}
    for foreign in FOREIGN.values():
        fates.setdefault(_fate(foreign), []).append(f"`{foreign.flag}`")
    for fate, flags in fates.items():
        yield _row(", ".join(flags), fate)
    yield "\n"


def with_table(text: str) -> str:
    """The page about moving from uvicorn, with its table made anew."""
    head, begin, rest = text.partition("<!-- options -->\n")
    _, end, tail = rest.partition("<!-- /options -->")
    if not (begin and end):
        raise ValueError(f"{MOVING} has no <!-- options --> … <!-- /options -->")
    return "".join([head, begin, *_moving(), end, tail])


def main(argv: Sequence[str]) -> int:
    """Writes the pages, or with `--check` tells which of them are out of date (1) and writes nothing."""
    check = "--check" in argv
    directory = Path(next((word for word in argv if not word.startswith("-")), "docs"))
    stale = []
    made = pages()
    if (directory / MOVING).is_file():
        made[MOVING] = with_table((directory / MOVING).read_text(encoding="utf-8"))
    for name, text in made.items():
        path = directory / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not check:
                path.write_text(text, encoding="utf-8")
    for path in stale:
        sys.stdout.write(f"{path} {'is out of date' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
