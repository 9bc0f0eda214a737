"""What a command says: the query and the JSON body, read strictly.

A name that nobody knows is refused with the nearest right one, because a misspelt wish must not become another
command. Raises `Problem`. Knows no commands; called by `app`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from swell.config.nearest import unknown
from swell.supervisor.control.problem import Problem

__all__ = ["bad_request", "read_body", "read_query", "whole_number"]


def bad_request(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, detail)


def read_query(query: bytes, names: Collection[str]) -> dict[str, str]:
    """The parameters, each at most once."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        raise bad_request("the query is malformed: write ?name=value") from None
    _refuse_strangers("query parameter", [name for name, _ in pairs], names)
    return dict(pairs)


def read_body(body: bytes, content_type: str, names: Collection[str]) -> dict[str, Any]:
    """The object in the body; an empty body is an empty object."""
    if not body:
        return {}
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body as JSON, with Content-Type: application/json")
    try:
        pairs = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be decoded"
        raise bad_request(f"the body is not valid JSON: {reason}") from None
    if not isinstance(pairs, _Pairs):
        raise bad_request('the body must be a JSON object, such as {"workers": 4}')
    _refuse_strangers("key", [name for name, _ in pairs], names)
    return dict(pairs)


class _Pairs(list[tuple[str, Any]]):
    """An object as it was written, to see names that stand twice."""


def _refuse_strangers(what: str, given: list[str], names: Collection[str]) -> None:
    for name in given:
        if name not in names:
            text = unknown(what, name[:64], names)
            valid = f"valid here: {', '.join(names)}" if names else "none is valid here"
            raise bad_request(text if text.endswith("?") else f"{text}; {valid}")
        if given.count(name) > 1:
            raise bad_request(f"{what} {name} stands there twice")


def whole_number(values: Mapping[str, Any], name: str, least: int, most: int) -> int:
    """One value that has to be a whole number within bounds; JSON's true is none."""
    value = values[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise bad_request(f"{name} must be a whole number from {least} to {most}, not {json.dumps(value)[:64]}")
    return value
