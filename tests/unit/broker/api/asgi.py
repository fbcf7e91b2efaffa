"""Requests to an ASGI application in the same process: no socket, no server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp


@dataclass(slots=True)
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def problem(self) -> str:
        assert self.headers["content-type"] == "application/problem+json"
        body = self.json()
        assert body["status"] == self.status
        return str(body["type"]).removeprefix("urn:broker:problem:")


async def call(
    app: ASGIApp,
    method: str,
    target: str,
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
    raw: bytes | None = None,
    until: asyncio.Event | None = None,
) -> Answer:
    """Sends a request; `until` is set when the first bytes of the answer's body came."""
    path, _, query = target.partition("?")
    content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    sent = {"content-type": "application/json", **({"x-api-key": key} if key else {}), **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    answer = Answer()
    parts = [content[start : start + 4096] for start in range(0, len(content), 4096)] or [b""]
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if parts:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
        else:
            answer.content += message.get("body", b"")
            if until is not None and answer.content:
                until.set()

    await app(scope, receive, send)
    return answer
