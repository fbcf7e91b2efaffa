"""Three accounts over two processes: each is traded by one, asked through any, and followed when that one dies."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.broker_process import DEADLINE_S, Stand, standing
from tests.unit.broker.secret_volume import ACCOUNT, publish, usual_files, venue_file

pytestmark = [pytest.mark.real, pytest.mark.slow]
FURTHER = ("101-004-1234567-002", "101-004-1234567-003")
ACCOUNTS = (ACCOUNT, *FURTHER)


@asynccontextmanager
async def two(place: Path) -> AsyncIterator[tuple[Stand, Stand]]:
    """Two processes that share the leases, each with a volume and a history of its own."""
    async with standing(place, *FURTHER) as first:
        other = place / "other"
        (other / "secrets").mkdir(parents=True)
        second = Stand(other, first.simulator, first.venue, first.session)
        for stand in (first, second):
            publish(stand.secrets, 1, usual_files() | {"venue.json": venue_file(account=None)})
            stand.changed = {
                "orders": {"standby": "forward", "lease_s": 2.0, "replicas": 2, "orphan_s": 6.0},
                "venue": {"further_accounts": list(FURTHER)},
            }
        (other / "orders").mkdir()
        (other / "orders" / "ownership").symlink_to(place / "orders" / "ownership")
        (place / "orders" / "ownership").mkdir(parents=True)
        try:
            for broker in await asyncio.gather(first.start_broker(), second.start_broker()):
                await broker.event("ready")
            yield first, second
        finally:
            if second.broker is not None:
                await second.broker.end(signal.SIGKILL)


async def place_in(stand: Stand, account: str, name: str) -> tuple[int, Any]:
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100", "client_order_id": name}
    return await stand.call("POST", f"/v1/orders?account={account}", json=body)


async def held(stand: Stand) -> list[str]:
    _, body = await stand.call("GET", f"/v1/admin/conditions?account={ACCOUNT}")
    names = {item["name"] for item in body["conditions"]}
    assert {"Alive", "Serving"} <= names
    found = []
    for account in ACCOUNTS:
        _, body = await stand.call("GET", f"/v1/admin/conditions?account={account}")
        if any(item["name"] == "Ownership" and item["ok"] for item in body["conditions"]):
            found.append(account)
    return found


async def filled(stand: Stand, account: str) -> int:
    url = f"{stand.rest}/v3/accounts/{account}/transactions/sinceid?id=1"
    async with stand.session.get(url, headers={"Authorization": "Bearer token-1"}) as answer:
        assert answer.status == 200
        return sum(item["type"] == "ORDER_FILL" for item in (await answer.json())["transactions"])


async def test_accounts_are_spread_traded_through_any_process_and_followed(tmp_path: Path) -> None:
    async with two(tmp_path) as (first, second):
        owners = [await held(stand) for stand in (first, second)]
        assert sorted(len(own) for own in owners) == [1, 2]
        assert sorted(account for own in owners for account in own) == sorted(ACCOUNTS)

        answers = [await place_in(first, account, f"first-{account}") for account in ACCOUNTS]
        answers += [await place_in(second, account, f"second-{account}") for account in ACCOUNTS]
        assert [status for status, _ in answers] == [201] * 6, answers
        assert [await filled(first, account) for account in ACCOUNTS] == [2, 2, 2]

        assert first.broker is not None
        await first.broker.end(signal.SIGKILL)
        async with asyncio.timeout(DEADLINE_S):
            while len(await held(second)) < 3:
                await asyncio.sleep(0.05)
        for account in ACCOUNTS:
            async with asyncio.timeout(DEADLINE_S):
                while (answer := await place_in(second, account, f"first-{account}"))[0] == 503:
                    await asyncio.sleep(0.05)
            assert answer[0] == 201, "the same id is the order that the dead process had placed"
        assert [await filled(first, account) for account in ACCOUNTS] == [2, 2, 2]
