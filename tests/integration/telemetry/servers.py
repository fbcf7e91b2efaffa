"""Starting real servers for a test: free ports, output kept, ended with the block."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

START_S = 60.0


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running(
    command: Sequence[str], output: Path, environ: Mapping[str, str] | None = None
) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Runs a server with its output in a file; SIGTERM at the end of the block, SIGKILL ten seconds later."""
    with output.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environ)
    try:
        yield process
    finally:
        await end(process)


async def end(process: subprocess.Popen[bytes], grace_s: float = 10) -> None:
    """Ends a server."""
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)


async def wait_until(
    holds: Callable[[], Awaitable[bool]], what: str, *, output: Path | None = None, deadline_s: float = START_S
) -> None:
    """Waits until `holds()`; a server that is not there yet is no error.

    Raises:
        AssertionError: it does not hold in time; the server's last lines are in the text.
    """
    try:
        async with asyncio.timeout(deadline_s):
            while not await _quietly(holds):
                await asyncio.sleep(0.05)
    except TimeoutError:
        tail = output.read_text(errors="replace")[-3000:] if output is not None and output.exists() else ""
        raise AssertionError(f"not within {deadline_s:.0f} s: {what}\n{tail}") from None


async def _quietly(holds: Callable[[], Awaitable[bool]]) -> bool:
    try:
        return await holds()
    except (aiohttp.ClientError, TimeoutError):
        return False


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether a URL answers 200."""
    async with session.get(url) as answer:
        return answer.status == 200
