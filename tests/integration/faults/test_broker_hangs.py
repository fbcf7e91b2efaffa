"""A broker whose term does not end: it says that it is not alive, and ends."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.integration.api.broker_process import Stand, standing, start
from tests.unit.broker.secret_volume import ACCOUNT, publish, usual_files

pytestmark = pytest.mark.real


async def hung_ready(stand: Stand) -> None:
    publish(stand.secrets, 1, usual_files())
    command = ("-m", "tests.integration.faults.hung_broker", "--config", str(stand.configuration()))
    stand.broker = await start(*command)
    stand.url = f"http://{(await stand.broker.event('listening'))['api']}"
    await stand.broker.event("ready")


async def test_broker_without_a_place_says_so_and_ends_with_70(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        stand.changed["orders"] = {"lease_s": 4.0}
        await hung_ready(stand)
        assert (await stand.condition("Alive"))["ok"]
        # As if another process had taken the account and died.
        (tmp_path / "orders" / "ownership" / ACCOUNT / "lease.2").write_text("{}")
        told = await stand.until("Alive", ok=False)
        assert (told["reason"], told["message"]) == (
            "NoPlace",
            f"neither owner of account {ACCOUNT} nor waiting for it",
        )
        assert stand.broker is not None
        async with asyncio.timeout(60):
            assert await stand.broker.child.wait() == os.EX_SOFTWARE
        assert any("nor waiting for it for 5 s" in line for line in stand.broker.other)
