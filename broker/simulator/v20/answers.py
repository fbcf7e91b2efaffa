"""Refusals and encoding of the simulated venue's answers, and the one kind of query value that all requests share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from broker.simulator.clock import unix

_ENCODER = msgspec.json.Encoder()
_TIME = re.compile(r'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z)"')
_MESSAGES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "Insufficient authorization to perform request.",
    HTTPStatus.TOO_MANY_REQUESTS: "The rate of requests is too high.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Internal server error.",
    HTTPStatus.BAD_GATEWAY: "Bad gateway.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Service unavailable.",
    HTTPStatus.GATEWAY_TIMEOUT: "Timeout waiting for response.",
}


class RefusalError(Exception):
    """A refusal: a status and the body that goes with it."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {body.get('errorCode', '')}")
        self.status = status
        self.body = body


def invalid(field: str) -> RefusalError:
    """400 without a transaction: the venue's words for a value that it cannot read."""
    code = "oanda::rest::core::InvalidParameterException"
    return RefusalError(400, {"errorMessage": f"Invalid value specified for '{field}'", "errorCode": code})


def absent(code: str, message: str) -> RefusalError:
    """404 for a thing that does not exist."""
    return RefusalError(404, {"errorCode": code, "errorMessage": message})


def plain_error(status: int) -> RefusalError:
    """Make a plain error, such as a gateway answers."""
    return RefusalError(status, {"errorMessage": _MESSAGES.get(status, "")})


def whole(text: str, field: str) -> int:
    """Parse a whole number of a query. Raises RefusalError: it is none; names the field."""
    if not text.isascii() or not text.isdecimal():
        raise invalid(field)
    return int(text)


def size(query: Mapping[str, str], field: str, usual: int, largest: int) -> int:
    """Parse a number of items, of 1 to `largest`. Raises RefusalError: it is none; names the field."""
    found = whole(query.get(field, str(usual)), field)
    if not 0 < found <= largest:
        raise invalid(field)
    return found


def encode(body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Encode JSON, its times in the form that the headers of the request ask for."""
    data = _ENCODER.encode(body)
    if headers.get("Accept-Datetime-Format") != "UNIX":
        return data
    # Every time is a text of one exact form, so that one pass over the text spares each payload a parameter.
    return _TIME.sub(lambda match: f'"{unix(match[1])}"', data.decode()).encode()
