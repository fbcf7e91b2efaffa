"""The order API on a real server and socket, and raw bytes sent to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from broker.api.http.server import build_server
from broker.api.settings import ApiSettings
from pod_runtime.ports import listen
from tests.unit.broker.api.conftest import Client

DEADLINE_S = 60.0


@dataclass(slots=True)
class Wire:
    """One connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer; status 0 if the connection ends without one."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
                line, *fields = head.decode("latin-1").strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (item.partition(": ") for item in fields)}
                body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0, {}, b""
        return int(line.split()[1]), headers, body

    async def problem(self) -> tuple[int, str]:
        """Status and name of an answer that has to be a problem."""
        status, headers, body = await self.answer()
        assert headers["content-type"] == "application/problem+json", (status, headers, body)
        content: dict[str, Any] = json.loads(body)
        assert content["status"] == status
        assert content["detail"].endswith(".")
        return status, content["type"].removeprefix("urn:broker:problem:")

    async def ended(self) -> bool:
        """True when the server has closed the connection, and has sent nothing more."""
        with suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE_S):
                return await self.reader.read() == b""
        return True


@dataclass(slots=True)
class Served:
    port: int
    settings: ApiSettings
    events: list[tuple[Any, ...]] = field(default_factory=list)

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def refused(self, reason: str) -> int:
        """The count of the first report of a reason, when it comes."""
        async with asyncio.timeout(DEADLINE_S):
            while not (found := [event for event in self.events if event[0] == reason]):
                await asyncio.sleep(0.02)
        return int(found[0][1])


@asynccontextmanager
async def serving(api: Client, **changed: Any) -> AsyncIterator[Served]:
    """Serves the application of `api` under changed settings."""
    settings = ApiSettings(tls="off", drain_s=0.1, **changed)
    events: list[tuple[Any, ...]] = []
    api.context.settings, refused = settings, api.context.refused
    server = build_server(api.app, settings, None, refused=refused, emit=events.append, report=lambda _: None)
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    running = asyncio.create_task(server.listen(taken))
    try:
        yield Served(port, settings, events)
    finally:
        server.should_exit = True
        async with asyncio.timeout(DEADLINE_S):
            await running
