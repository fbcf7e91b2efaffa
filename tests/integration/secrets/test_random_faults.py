"""Random faults between the agent and a real server leave no token and no lease behind.

`FAULTS` is their number, `SEED` repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pod_runtime.secret import Secret
from sidecar.secrets.agent import SecretsAgent
from sidecar.secrets.errors import VaultError, VaultFault
from sidecar.secrets.vault.client import VaultAnswer, VaultClient
from tests.integration.secrets.vault import Vault, until
from tests.unit.sidecar.secrets.fake_vault import DEAD, failure, foreign, unreachable

pytestmark = pytest.mark.real
FAULTS = int(os.environ.get("FAULTS", "12"))
INSTEAD: dict[str, Callable[[str], VaultError]] = {
    "proxy denies": lambda operation: foreign(403, operation),
    "proxy knows no path": lambda operation: foreign(404, operation),
    "proxy is overloaded": lambda operation: foreign(503, operation),
    "right missing": lambda operation: failure(403, operation),
    "called dead": lambda operation: failure(403, operation, words=DEAD),
    "sealed": lambda operation: failure(503, operation),
    "undone": lambda operation: failure(500, operation),
    "unreachable": lambda operation: unreachable("", operation),
}
LOST = "answer lost"


class FaultyCaller:
    """A client whose requests fail by chance, in the server's place or after it did what it was asked.

    A login is left alone: nobody can name the token of a login whose answer was lost, and the test would wait for it.
    """

    def __init__(self, client: VaultClient, chance: random.Random, count: int) -> None:
        self._client, self._chance, self.left = client, chance, count
        self.done: list[str] = []

    async def call(
        self, method: str, path: str, *, token: Secret | None = None, body: Mapping[str, Any] | None = None
    ) -> VaultAnswer:
        fault = ""
        if self.left and not path.endswith("/login") and self._chance.random() < 0.5:
            self.left -= 1
            fault = self._chance.choice([*INSTEAD, LOST])
            self.done.append(f"{fault}: {path.rpartition('/')[2]}")
        if fault in INSTEAD:
            raise INSTEAD[fault](f"{method} {path}")
        answer = await self._client.call(method, path, token=token, body=body)
        if fault == LOST:
            raise VaultError(VaultFault.TIMEOUT, f"{method} {path}", "no answer in time")
        return answer


async def test_random_faults_leave_nothing_behind(vault: Vault) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print("SEED", seed)
    settings = vault.settings(poll_interval_s=0.2, token_check_interval_s=0.2)
    client = VaultClient(settings)
    caller = FaultyCaller(client, random.Random(seed), FAULTS)
    agent, stop = SecretsAgent(settings, audit=vault.audit, caller=caller), asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run(stop))
            while caller.left:
                agent.acknowledgements.applied("broker", agent.status().generation_published)
                await asyncio.sleep(0.05)
            print(caller.done)
            await until(lambda: proved(agent) and len(vault.leases()) == len(vault.tokens()) == 1, 300)
            agent.acknowledgements.goodbye("broker")
            stop.set()
    finally:
        client.close()
    await until(lambda: vault.leases() == [] and vault.tokens() == [])


def proved(agent: SecretsAgent) -> bool:
    """Prove what is published; True if all is well."""
    status = agent.status()
    agent.acknowledgements.applied("broker", status.generation_published)
    return status.token.state == "valid" and all(item.state == "fresh" for item in status.secrets)
