"""Client of a running sidecar: its console over HTTP, and its control socket for what changes something."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import msgspec

from sidecar.console.document import JsonObject

DEADLINE = aiohttp.ClientTimeout(total=5)
# Only connecting has a deadline: a sidecar whose producers are quiet sends nothing for hours, and Ctrl-C ends it.
STREAM_DEADLINE = aiohttp.ClientTimeout(total=None, sock_connect=5)
# A message is one line, with up to a hundred events in it; aiohttp's own limit is 128 KiB.
MAX_LINE_BYTES = 8 << 20


class UnreachableError(Exception):
    """The sidecar does not answer; the text says why."""


class RotationRefusedError(Exception):
    """The sidecar answers and says no; the text is its own."""


async def read_status(url: str) -> bytes:
    """Return the status document as the console at `url` sends it, or raise `UnreachableError`."""
    with _unreachable():
        async with aiohttp.ClientSession(timeout=DEADLINE) as session, session.get(f"{url}/api/status") as answer:
            answer.raise_for_status()
            return await answer.read()


async def follow_events(url: str) -> AsyncIterator[JsonObject]:
    """Yield telemetry events from now on, until the sidecar ends; `UnreachableError` if it is away or goes."""
    with _unreachable():
        async with (
            aiohttp.ClientSession(timeout=STREAM_DEADLINE, read_bufsize=MAX_LINE_BYTES) as session,
            session.get(f"{url}/api/events", params={"status": "0"}) as answer,
        ):
            answer.raise_for_status()
            async for line in answer.content:
                # Lines of the kind of a message, and empty ones between messages, hold no data.
                if line.startswith(b"data: "):
                    for event in msgspec.json.decode(line[6:], type=list[JsonObject]):
                        yield event


async def rotate(socket: Path, name: str | None) -> str:
    """Ask for a secret to be read again, or all of them, and return the answer of the sidecar.

    It raises `UnreachableError` if nobody answers on the socket, `RotationRefusedError` if there is no such secret.
    """
    with _unreachable():
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket)), timeout=DEADLINE) as session,
            session.post(f"http://control/rotate/{name}" if name else "http://control/rotate") as answer,
        ):
            text = (await answer.text()).strip()
    if not answer.ok:
        raise RotationRefusedError(text)
    return text


@contextmanager
def _unreachable() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise UnreachableError("no answer within the deadline") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        text = str(error) or type(error).__name__
        # aiohttp's own text repeats host and port; the person gave them, and wants the cause ("Connection refused").
        if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
            text = os.strerror(error.os_error.errno)
        raise UnreachableError(text) from error
