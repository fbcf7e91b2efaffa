"""Errors of the order API as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import Response

from broker.api.schemas.responses import PROBLEM_TYPE, TYPE_PREFIX


class Problem(Exception):  # noqa: N818 - the RFC's own noun
    """An answer that is an error; `extra` are further members of the object, left out if None."""

    def __init__(
        self,
        status: HTTPStatus,
        name: str,
        detail: str,
        *,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = {key: value for key, value in extra.items() if value is not None}
        if retry_after_s is not None:
            # RFC 9110, 10.2.3 has whole seconds; 0 would ask for a retry at once.
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))

    def response(self) -> Response:
        """The answer to send."""
        members = {
            "type": TYPE_PREFIX + self.name,
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            **self.extra,
        }
        # `replace`: a lone surrogate, which a caller's JSON may have brought, has no UTF-8.
        body = json.dumps(members, ensure_ascii=False, default=str).encode(errors="replace")
        return Response(body, status_code=self.status, headers=self.headers, media_type=PROBLEM_TYPE)


def unavailable(name: str, detail: str, *, retry_after_s: float, reason: str | None = None) -> Problem:
    """503: nothing was sent to the venue, and the caller may try again."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, name, detail, retry_after_s=retry_after_s, reason=reason)


def invalid(field: str, message: str, detail: str | None = None) -> Problem:
    """422 for one wrong field."""
    errors = [{"field": field, "message": message}]
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return Problem(status, "invalid-request", detail or f"{field} {message}.", errors=errors)
