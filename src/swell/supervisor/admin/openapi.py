"""The interface below `/api/` in the words of OpenAPI 3.1, made from the routes. A test checks it against them."""

from __future__ import annotations

from functools import cache
from typing import Any

from swell import __version__
from swell.supervisor.control.app import EXPLAIN_AT_MOST, EXPLAIN_DEFAULT, ROUTES

__all__ = ["description"]

_SUMMARIES = {
    "status": "The instance and every worker, with what each is doing now.",
    "explain": "Why the number of workers is what it is, and the latest decisions with their inputs.",
    "forecast": "The load of the last day, what was foretold of it, and the hours ahead.",
    "dump": "The stacks of all threads of a worker, also of one that hangs.",
    "tasks": "Every asyncio task of a worker, where it waits and for whom.",
    "logs": "Log lines of all workers and of the parent from now on, as JSON lines, for as long as somebody reads.",
    "health": "200 while the instance serves, 503 while it starts or ends.",
    "scale": "Set the number of workers, or the range within which it may move.",
    "reload": "Replace all workers by new ones with the code as it is now. Answers when they serve.",
    "profile": "Where a worker's time goes, or its memory. Answers when the time is over.",
    "restart": "Replace one worker, without loss. Answers when its successor serves.",
    "drain": "End the instance after the configured grace.",
    "stop": "End the instance, gracefully or at once.",
}
_COUNT = {"type": "integer", "minimum": 0}
_PROPERTIES: dict[str, dict[str, Any]] = {
    "workers": {"type": "integer", "minimum": 1, "description": "Exactly so many."},
    "min": {**_COUNT, "description": "At least so many; 0 lets an idle instance sleep."},
    "max": {"type": "integer", "minimum": 1, "description": "At most so many."},
    "by": {"type": "integer", "description": "So many more, or fewer."},
    "worker": {**_COUNT, "description": "The worker's id, from the status."},
    "seconds": {"type": "integer", "minimum": 1, "default": 10, "description": "How long."},
    "hz": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100, "description": "Looks per second."},
    "memory": {"type": "boolean", "default": False, "description": "What is allocated, instead of where time goes."},
    "page": {
        "type": "boolean",
        "default": False,
        "description": "Keep it as a page, see /api/flame; the answer has its number and the hottest functions.",
    },
    "now": {"type": "boolean", "default": False, "description": "Without waiting for anybody."},
}
_LAST = {"type": "integer", "minimum": 1, "maximum": EXPLAIN_AT_MOST, "default": EXPLAIN_DEFAULT}
# What a GET takes.
_QUERY: dict[str, tuple[str, dict[str, Any]]] = {
    "last": ("How many decisions.", _LAST),
    "statuses": ("Which classes of status of the access log: bit 5 is 5xx, bit 0 no response; 0 for none.", _COUNT),
    "slower_ms": ("Of the access log, what took so many milliseconds.", _COUNT),
    "contains": ("Of the access log, lines with this in them.", {"type": "string"}),
    "level": (
        "The least level of the server's log, as Python numbers it; off for none of it.",
        {"type": "string"},
    ),
    "worker": ("The worker's id, from the status. May be left out where there is only one.", _COUNT),
}
_FIELD = {
    "name": "Swell-Admin",
    "in": "header",
    "required": True,
    "description": "Any value; keeps pages of other sites from asking. Not needed on the control socket.",
    "schema": {"type": "string"},
}
_SUCCESS = {"drain": "202", "stop": "202"}


@cache
def description() -> dict[str, Any]:
    """The document."""
    paths = {f"/api/{name}": {route.method.lower(): _operation(name)} for name, route in ROUTES.items()}
    for probe, text in (
        ("live", "Whether no restart is needed: the parent answers and event loops come round."),
        ("ready", "Whether a new connection would be served."),
        ("startup", "Whether the application has started."),
    ):
        paths[f"/{probe}z"] = {"get": _probe(probe, text)}
    paths["/metrics"] = {
        "get": {
            "operationId": "metrics",
            "summary": "OpenMetrics or the Prometheus text format, as the Accept field asks.",
            "responses": {"200": {"description": "The metrics.", "content": {"text/plain": {}}}, "401": _problem()},
        }
    }
    paths["/api/flame"] = {"get": _flame()}
    paths["/api/events"] = {"get": _events()}
    paths["/api/session"] = {"post": _session()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Swell's admin interface", "version": __version__},
        "paths": paths,
        "security": [{}, {"token": []}, {"session": []}],
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "swell-admin"},
            },
            "schemas": {
                "Problem": {
                    "type": "object",
                    "description": "RFC 9457",
                    "required": ["type", "title", "status", "detail"],
                    "properties": {
                        "type": {"type": "string"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                    },
                }
            },
        },
    }


def _operation(name: str) -> dict[str, Any]:
    route = ROUTES[name]
    answer = {"description": "Done, or begun.", "content": {"application/json": {"schema": {"type": "object"}}}}
    changes = route.method == "POST"
    refusals = ("400", "401", "403", *(("404",) if changes else ()), *(("409",) if changes or route.names else ()))
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": _SUMMARIES[name],
        "responses": {_SUCCESS.get(name, "200"): answer, **{status: _problem() for status in refusals}},
    }
    if name == "logs":
        answer["content"] = {"application/x-ndjson": {"schema": {"type": "object"}}}
    if name == "health":
        operation["responses"]["503"] = answer
    if route.method == "GET":
        operation["parameters"] = [
            {"name": key, "in": "query", "description": _QUERY[key][0], "schema": _QUERY[key][1]} for key in route.names
        ]
        return operation
    operation["parameters"] = [_FIELD]
    schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key: _PROPERTIES[key] for key in route.names},
    }
    operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _probe(name: str, text: str) -> dict[str, Any]:
    answer = {"description": "Why.", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"operationId": f"{name}z", "summary": text, "security": [{}], "responses": {"200": answer, "503": answer}}


def _events() -> dict[str, Any]:
    text = "Server-sent events for the page: `hello` with everything, then `now` once a second."
    stream = {"description": "The events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    refusals = {status: _problem() for status in ("401", "403", "503")}
    return {"operationId": "events", "summary": text, "responses": {"200": stream, **refusals}}


def _flame() -> dict[str, Any]:
    number = {"name": "profile", "in": "query", "required": True, "description": "Its number.", "schema": _COUNT}
    return {
        "operationId": "flame",
        "summary": "A profile that was made with `page`, as a flame graph; the latest ones are kept.",
        "parameters": [number],
        "responses": {
            "200": {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}},
            **{status: _problem() for status in ("400", "401", "403", "404")},
        },
    }


def _session() -> dict[str, Any]:
    token = {"type": "object", "required": ["token"], "properties": {"token": {"type": "string"}}}
    return {
        "operationId": "session",
        "summary": "Sign in: the token for a cookie.",
        "security": [{}],
        "parameters": [_FIELD],
        "requestBody": {"content": {"application/json": {"schema": token}}},
        "responses": {
            "200": {"description": "Signed in; the cookie is set."},
            **{status: _problem() for status in ("400", "401", "403")},
        },
    }


def _problem() -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": "Refused.", "content": {"application/problem+json": {"schema": schema}}}
