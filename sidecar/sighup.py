"""SIGHUP handler: rotates every secret, as daemons by custom read their files again."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.secrets.agent import SecretsAgent

log = logging.getLogger(__name__)


async def rotate_on_hangup(agent: SecretsAgent, stop: asyncio.Event) -> None:
    """Read and publish every secret again at each SIGHUP, until `stop`."""
    # By default SIGHUP ends the process; the handler takes only a note, for a rotation awaits Vault.
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(_rotate_when_asked(agent, asked))
            await stop.wait()
            serving.cancel()
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def _rotate_when_asked(agent: SecretsAgent, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        log.info("secrets.rotation_asked", extra={"by": "SIGHUP"})
        await agent.rotate(None)
