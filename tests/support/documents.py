"""Whether a JSON document is what a TypedDict says."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["problems"]


def problems(document: object, kind: Any, where: str = "$") -> Iterator[str]:
    """One line for each place that has another type, or lacks a key. Keys that nobody announced are fine."""
    origin = get_origin(kind)
    if is_typeddict(kind):
        if not isinstance(document, dict):
            yield f"{where} is not an object: {document!r}"
            return
        for name, member in get_type_hints(kind, include_extras=True).items():
            optional = get_origin(member) is NotRequired
            if name in document:
                yield from problems(document[name], get_args(member)[0] if optional else member, f"{where}.{name}")
            elif not optional:
                yield f"{where} has no {name}"
    elif origin is list:
        if not isinstance(document, list):
            yield f"{where} is not an array: {document!r}"
            return
        for index, item in enumerate(document):
            yield from problems(item, get_args(kind)[0], f"{where}[{index}]")
    elif origin is dict:
        if not isinstance(document, dict) or not all(isinstance(name, str) for name in document):
            yield f"{where} is not an object: {document!r}"
    elif origin is Literal:
        if document not in get_args(kind):
            yield f"{where} is none of {get_args(kind)}: {document!r}"
    elif origin in (Union, types.UnionType):
        if all(list(problems(document, member, where)) for member in get_args(kind)):
            yield f"{where} is no {kind}: {document!r}"
    elif kind is not Any:
        accepted = (int, float) if kind is float else kind
        if not isinstance(document, accepted) or (isinstance(document, bool) and kind is not bool):
            yield f"{where} is no {kind.__name__}: {document!r}"
