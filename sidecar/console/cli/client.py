"""Asks a running sidecar: its console over HTTP, its control socket for what changes something."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

DEADLINE = aiohttp.ClientTimeout(total=5)
STREAM_DEADLINE = aiohttp.ClientTimeout(total=None, sock_connect=5)
MAX_LINE_BYTES = 8 << 20


class UnreachableError(Exception):
    """The sidecar does not answer; the text says why."""


class RefusedError(Exception):
    """The sidecar answers and says no; the text is its own."""


class Sidecar:
    """A running sidecar, by its console's URL."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    async def status(self) -> dict[str, Any]:
        """The status document.

        Raises:
            UnreachableError: there is none.
        """
        try:
            async with (
                aiohttp.ClientSession(timeout=DEADLINE) as session,
                session.get(f"{self.url}/api/status") as answer,
            ):
                answer.raise_for_status()
                return dict(await answer.json())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UnreachableError(_reason(error)) from error

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Telemetry events from now on, until the sidecar ends.

        Raises:
            UnreachableError: it does not answer, or went away.
        """
        try:
            async with (
                aiohttp.ClientSession(timeout=STREAM_DEADLINE, read_bufsize=MAX_LINE_BYTES) as session,
                session.get(f"{self.url}/api/events", params={"status": "0"}) as answer,
            ):
                answer.raise_for_status()
                async for line in answer.content:
                    for event in _events(line):
                        yield event
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UnreachableError(_reason(error)) from error


def _events(line: bytes) -> list[dict[str, Any]]:
    """The events in a line of the stream; only lines with data hold some."""
    return list(json.loads(line[6:])) if line.startswith(b"data: ") else []


async def rotate(socket: Path, name: str | None) -> str:
    """Has a secret read again, or all of them; what the sidecar says to it.

    Raises:
        UnreachableError: nobody answers on the socket.
        RefusedError: there is no such secret.
    """
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket)), timeout=DEADLINE) as session,
            session.post(f"http://control/rotate/{name}" if name else "http://control/rotate") as answer,
        ):
            text = (await answer.text()).strip()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UnreachableError(_reason(error)) from error
    if not answer.ok:
        raise RefusedError(text)
    return text


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "no answer within the deadline"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return os.strerror(error.os_error.errno)
    return str(error) or type(error).__name__
