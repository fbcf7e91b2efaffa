"""An agent as a process that can be killed: `python agent_process.py SETTINGS [prove]`. Logs go to standard output.

With `prove` it takes every set as proved as soon as it is published, as a reader that is always there would.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from runtime import log
from runtime.config import load
from runtime.run import run
from sidecar.secrets.agent import SecretsAgent
from sidecar.secrets.settings import SecretsSettings


async def serve(stop: asyncio.Event) -> int:
    settings = load(SecretsSettings, path=Path(sys.argv[1]), environ={}, prefix="")
    agent = SecretsAgent(settings)
    end = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run(end))
        if "prove" in sys.argv[2:]:
            await prove(agent, stop)
        await stop.wait()
        end.set()
    return 0


async def prove(agent: SecretsAgent, stop: asyncio.Event) -> None:
    while not stop.is_set():
        status = agent.status()
        if status.generation_published > status.generation_acknowledged:
            agent.applied("broker", status.generation_published)
        await asyncio.sleep(0.02)
    agent.goodbye("broker")


if __name__ == "__main__":
    log.configure("agent", "DEBUG")
    sys.exit(run(serve))
