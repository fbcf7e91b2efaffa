"""JSON of request bodies: each name of an object once, as I-JSON has it (RFC 7493, 2.3).

Parsers differ in which of two values they take. Of an order with two sizes none may be chosen for its sender.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

_SHOWN = 40


class _RepeatedNameError(ValueError):
    pass


def decode_json(body: bytes) -> Any:
    """Decode as `json.loads` does. Raises json.JSONDecodeError, for a repeated name too; RecursionError."""
    try:
        return json.loads(body, object_pairs_hook=_once)
    except _RepeatedNameError as error:
        raise json.JSONDecodeError(str(error), "", 0) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _RepeatedNameError(f"the name {name[:_SHOWN]!r} is there twice; send it once")
    return made


class _BodyRequest(Request):
    async def json(self) -> Any:
        """The body."""
        if not hasattr(self, "_json"):
            self._json = decode_json(await self.body())
        return self._json


class BodyRoute(APIRoute):
    """Route whose body is read by `decode_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of FastAPI, given our request."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            return await handle(_BodyRequest(request.scope, request.receive))

        return answer
