"""Options: what Swell adds to requests and responses over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from swell.config.kinds import choice, field_name, flag, headers
from swell.config.option import option

__all__ = ["Http"]


@dataclass(frozen=True, kw_only=True)
class Http:
    __slots__ = ()
    title: ClassVar[str] = "HTTP"

    server_header: bool = option(flag(), True, "Send a Server field unless the application does.")
    date_header: bool = option(
        flag(),
        True,
        "Send a Date field unless the application does.",
        why="RFC 9110 §6.6.1 asks a server with a clock to.",
    )
    header: tuple[tuple[str, str], ...] = option(
        headers(), (), "Field added to every response, as Name:Value. Repeatable.", aliases=("headers",)
    )
    cancel_on_disconnect: bool = option(
        flag(),
        False,
        "Cancel the task of a request when its client goes away.",
        why="Off: the application hears http.disconnect and decides, as the ASGI specification has it. On saves the"
        " work of expensive answers that nobody waits for.",
    )
    request_id: Literal["off", "make", "take"] = option(
        choice("off", "make", "take"),
        "off",
        "Give each request an id, in scope['state']['request_id'] and in the logs: make a new one, or take the"
        " client's if it is well-formed.",
    )
    request_id_header: str = option(field_name(), "x-request-id", "The field that carries the id.")
    request_id_response: bool = option(flag(), False, "Send the id back in the same field of the response.")
