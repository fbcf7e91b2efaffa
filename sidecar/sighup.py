"""SIGHUP, by the custom of daemons: read again what you hold. Here: rotate every secret."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.secrets.agent import SecretsAgent

log = logging.getLogger(__name__)


async def rotate_on_hangup(agent: SecretsAgent, stop: asyncio.Event) -> None:
    """Has every secret read again and published at each SIGHUP, until `stop`."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(_serve(agent, asked))
            await stop.wait()
            serving.cancel()
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def _serve(agent: SecretsAgent, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        log.info("secrets.rotation_asked", extra={"by": "SIGHUP"})
        await agent.rotate(None)
