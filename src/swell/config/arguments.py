"""Options from the command line: `APP`, `--name VALUE`, `--name=VALUE`, `--name` and `--no-name`.

Every option is spelt as uvicorn spells it, so that replacing `uvicorn` by `swell` works. No abbreviations: a script
that works today must not become ambiguous with the next option. Called by the commands that take options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from swell.config.foreign import FOREIGN
from swell.config.layers import Layer
from swell.config.model import OPTIONS
from swell.config.nearest import nearest, unknown
from swell.config.option import Option

__all__ = ["Arguments", "read_arguments"]

_BY_FLAG: Mapping[str, Option] = {option.flag: option for option in OPTIONS.values() if option.name != "app"}
_BY_NEGATION = {"--no-" + flag[2:]: option for flag, option in _BY_FLAG.items() if option.kind.is_flag}
_FOREIGN = {foreign.flag: foreign for foreign in FOREIGN.values()}
_FOREIGN_NEGATION = {"--no-" + row.flag[2:] for row in FOREIGN.values() if not row.takes_value}
# Short flags of other servers, whose users will try them here.
_SHORT = {"-b": "--bind", "-p": "--port", "-w": "--workers", "-c": "--config", "-l": "--log-level"}


@dataclass(slots=True)
class Arguments:
    """What stood on the command line: the options' layer, and what the command itself asked for."""

    layer: Layer = field(default_factory=Layer)
    extras: dict[str, str] = field(default_factory=dict)
    raw: dict[str, list[object]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)


def read_arguments(argv: Sequence[str], extras: Mapping[str, bool]) -> Arguments:
    """Reads everything. `extras` are flags of the command itself, with whether they take a value.

    Mistakes end up in `layer.problems`; nothing is raised, so that `--help` can be seen behind them.
    """
    result = Arguments()
    problems = result.layer.problems
    rest = list(argv)
    strange = False
    while rest:
        word = rest.pop(0)
        if word == "--":
            result.words.extend(rest)
            break
        if not word.startswith("-") or word == "-":
            result.words.append(word)
            continue
        flag, equals, value = word.partition("=")
        given = value if equals else None
        if not _known(flag, given, rest, result, extras):
            strange = True
            problems.append(_unknown_flag(flag, extras))
    for name, values in result.raw.items():
        option = OPTIONS[name]
        result.layer.put(option, values if option.kind.repeatable else values[-1], option.flag)
    if not strange:  # behind an unknown flag, a word may be its value
        if result.words:
            result.layer.put(OPTIONS["app"], result.words[0], "APP")
        problems.extend(f"unexpected argument {word}: there can be one APP only" for word in result.words[1:])
    return result


def _known(flag: str, given: str | None, rest: list[str], result: Arguments, extras: Mapping[str, bool]) -> bool:
    """Takes one flag and its value; `False` if nobody knows it."""
    problems = result.layer.problems
    if flag in extras:
        value = _value(flag, given, rest, problems) if extras[flag] else (given or "on")
        if value is not None:
            result.extras[flag] = value
    elif flag in _BY_FLAG:
        option = _BY_FLAG[flag]
        raw: object = (True if given is None else given) if option.is_switch else _value(flag, given, rest, problems)
        if raw is not None:
            result.raw.setdefault(option.name, []).append(raw)
    elif flag in _BY_NEGATION:
        if given is not None:
            problems.append(f"{flag} takes no value")
        result.raw.setdefault(_BY_NEGATION[flag].name, []).append(False)
    elif flag in _FOREIGN:
        foreign = _FOREIGN[flag]
        taken = _value(flag, given, rest, problems) if foreign.takes_value else (given or "on")
        if taken is not None:
            result.layer.put_foreign(foreign.name, taken, flag)
    else:
        return flag in _FOREIGN_NEGATION
    return True


def _value(flag: str, given: str | None, rest: list[str], problems: list[str]) -> str | None:
    if given is not None:
        return given
    if rest and not rest[0].startswith("--"):
        return rest.pop(0)
    problems.append(f"{flag} needs a value")
    return None


def _unknown_flag(flag: str, extras: Mapping[str, bool]) -> str:
    if flag in _SHORT:
        return f"unknown option {flag}: did you mean {_SHORT[flag]}?"
    valid = [*_BY_FLAG, *_BY_NEGATION, *extras]
    dashed = "--" + flag.lstrip("-").replace("_", "-").lower()
    return unknown("option", flag, [guess] if (guess := nearest(dashed, valid)) else [])
