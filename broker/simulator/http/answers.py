"""Answers in the venue's forms: bodies with `lastTransactionID`, refusals with and without a transaction."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from broker.simulator.account.account import AccountBook, Transaction
from broker.simulator.clock import unix

_TIME = re.compile(r'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z)"')
UNAUTHORIZED = "Insufficient authorization to perform request."
_MESSAGES = {
    429: "The rate of requests is too high.",
    500: "Internal server error.",
    502: "Bad gateway.",
    503: "Service unavailable.",
    504: "Timeout waiting for response.",
}
HTML = "<html><head><title>503 Service Temporarily Unavailable</title></head><body>503</body></html>"


class AnswerError(Exception):
    """A refusal: a status and the body that goes with it."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {body.get('errorCode', '')}")
        self.status = status
        self.body = body


def invalid(field: str) -> AnswerError:
    """400 without a transaction: the venue's words for a value that it cannot read."""
    code = "oanda::rest::core::InvalidParameterException"
    return AnswerError(400, {"errorMessage": f"Invalid value specified for '{field}'", "errorCode": code})


def absent(code: str, message: str) -> AnswerError:
    """404 for something that was asked for and is not there."""
    return AnswerError(404, {"errorCode": code, "errorMessage": message})


def error(status: int) -> dict[str, Any]:
    """The body of a plain error, such as a gateway makes."""
    return {"errorMessage": UNAUTHORIZED if status == web.HTTPUnauthorized.status_code else _MESSAGES.get(status, "")}


def acted(book: AccountBook, transactions: Mapping[str, Transaction], before: int) -> dict[str, Any]:
    """The body after something was done: its transactions, all related ids, the last id."""
    related = [entry["id"] for entry in book.log[before:]]
    return {**transactions, "relatedTransactionIDs": related, "lastTransactionID": book.last_id}


def shown(book: AccountBook, **found: Any) -> dict[str, Any]:
    """The body of a read."""
    return {**found, "lastTransactionID": book.last_id}


def encode(body: Mapping[str, Any], *, in_unix: bool) -> bytes:
    """JSON, its times in the form that the request asked for."""
    text = json.dumps(body, separators=(",", ":"))
    if in_unix:
        text = _TIME.sub(lambda match: f'"{unix(match[1])}"', text)
    return text.encode()
