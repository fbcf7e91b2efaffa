"""A reader of `/v1/events` as a careful client is: it comes back with the id of the last event that it saw."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from broker.orders.store.journal import decode_payload, segments
from pod_runtime.files.framing import records
from tests.unit.broker.secret_volume import KEYS


@dataclass(slots=True)
class EventReader:
    """Reads from `stands` in turn; leaves by itself now and then if it has a `chance`."""

    session: aiohttp.ClientSession
    query: dict[str, str]
    chance: random.Random | None = None
    last_id: str | None = None
    events: list[tuple[str, Any]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first id came."""
    connections: int = 0

    async def read(self, url: str) -> None:
        """Reads until the stream ends or breaks, or the reader is tired of it."""
        headers = {"X-API-Key": KEYS["flow"]} | ({"Last-Event-ID": self.last_id} if self.last_id else {})
        left = self.chance.randrange(1, 40) if self.chance is not None else -1
        timeout = aiohttp.ClientTimeout(total=None, sock_read=15)
        async with self.session.get(f"{url}/v1/events", params=self.query, headers=headers, timeout=timeout) as answer:
            if answer.status != 200:
                return
            self.connections += 1
            async for event in self._blocks(answer):
                self.events += [event]
                left -= 1
                if left == 0:
                    return

    async def _blocks(self, answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
        found: dict[str, str] = {}
        async for line in answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                found[name] = value
                continue
            self.last_id = found.get("id", self.last_id)
            if self.last_id:
                self.begun.set()
            if "event" in found:
                yield found["event"], json.loads(found["data"])
            found = {}

    def changes(self) -> list[tuple[str, str]]:
        """Kind and key of each journaled change that was seen."""
        return [(kind, key_of(kind, data)) for kind, data in self.events if kind in {"order", "transaction"}]


def key_of(kind: str, data: Any) -> str:
    return f"{data['id']}:{data['status']}:{data['filled_units']}" if kind == "order" else str(data["id"])


def journaled(directory: Path, after: int) -> list[tuple[str, str]]:
    """Kind and key of each change in a journal behind a position."""
    found: list[tuple[str, str]] = []
    for segment in segments(directory):
        position = segment.first
        for record in records(segment.path.read_bytes()):
            position += 1
            if position <= after or record.payload[:1] not in {b"o", b"t"}:
                continue
            kind, content = decode_payload(record.payload)
            content_: Any = content
            if kind == b"t":
                found.append(("transaction", str(content_["id"])))
            else:
                order = content_.order
                found.append(("order", f"{order.id}:{order.status}:{order.filled_units:f}"))
    return found
