"""Strangers: connections that are held without a word, and opened again when the other side closes them."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

AGAIN_S = 1.0


@asynccontextmanager
async def strangers(address: str, count: int, *, all_open: bool = True, of: str | None = None) -> AsyncIterator[None]:
    """Holds `count` connections to `host:port` or a URL; all of them were open once when the block begins.

    With `all_open` False the block begins at once: the server may be away. `of` is the strangers' own address.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    place = urlsplit(address if "//" in address else f"//{address}")
    opened = [asyncio.Event() for _ in range(count)]
    async with asyncio.TaskGroup() as tasks:
        held = [tasks.create_task(_hold(str(place.hostname), int(place.port or 0), event, of)) for event in opened]
        try:
            async with asyncio.timeout(120):
                for event in opened if all_open else ():
                    await event.wait()
            yield
        finally:
            for task in held:
                task.cancel()


async def _hold(host: str, port: int, opened: asyncio.Event, of: str | None) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port, local_addr=(of, 0) if of else None)
            opened.set()
            try:
                await reader.read()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
        await asyncio.sleep(AGAIN_S)
