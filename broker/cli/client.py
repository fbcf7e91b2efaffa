"""One request of a command to a running broker."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

DEADLINE_S = 35.0
"""Longer than the API's own deadline, so that its answer is seen."""


class ApiAnswerError(Exception):
    """The broker refused, or did not answer (`status` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A request."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None


async def ask(call: ApiCall, *, url: str, key: str, ca_file: Path | None) -> dict[str, Any]:
    """The answer's JSON.

    Raises:
        ApiAnswerError: there is none, or it is a problem; the text is for people.
    """
    trust = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, headers={"X-API-Key": key}) as session:
            address = url.rstrip("/") + call.path
            async with session.request(call.method, address, params=call.params, json=call.body, ssl=trust) as answer:
                found: dict[str, Any] = await answer.json(content_type=None)
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise ApiAnswerError(answer.status, f"{answer.status} {found.get('detail', answer.reason)}")
                return found
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ApiAnswerError(0, f"no answer from {url}: {error or 'no answer in time'}") from error
