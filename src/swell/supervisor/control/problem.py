"""Errors of the control socket: problem details as JSON, RFC 9457. The detail says what to do."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["Problem"]


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """An answer instead of the one that was asked for."""

    def __init__(self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}

    def document(self) -> dict[str, object]:
        """RFC 9457 §3.1; the type is about:blank, which stands for the status alone (§4.2.1)."""
        return {"type": "about:blank", "title": self.status.phrase, "status": int(self.status), "detail": self.detail}
