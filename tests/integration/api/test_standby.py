"""Two brokers on one account: the standby passes orders on, takes over, and nothing is done twice."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.broker_process import DEADLINE_S, Stand, standing
from tests.unit.broker.certificates import make_pair
from tests.unit.broker.secret_volume import ACCOUNT, publish, usual_files

pytestmark = [pytest.mark.real, pytest.mark.slow]


@asynccontextmanager
async def two(
    place: Path, *, standby: str, tls: bool = False, shared: bool = True
) -> AsyncIterator[tuple[Stand, Stand]]:
    """The owner and the standby, both ready. They share the lease, and where `shared` the journal."""
    async with standing(place) as owner:
        other = place / "standby"
        (other / "secrets").mkdir(parents=True)
        second = Stand(other, owner.simulator, owner.venue, owner.session)
        files = usual_files()
        if tls:
            certificate, key = make_pair("broker")
            files |= {"tls.crt": certificate, "tls.key": key, "ca.crt": certificate}
        for stand in (owner, second):
            publish(stand.secrets, 1, files)
            directory = place if shared else stand.place
            stand.changed = {
                "orders": {
                    "directory": str(directory / "orders"),
                    "standby": standby,
                    "standby_ready": True,
                    "lease_s": 2.0,
                    "absence_horizon_s": 2.0,
                },
                "api": {"tls": "required" if tls else "off", "deadline_s": 3.0},
                "venue": {"connections_per_s": 100},
            }
        if not shared:
            (other / "orders").mkdir()
            (other / "orders" / "ownership").symlink_to(place / "orders" / "ownership")
        await (await owner.start_broker()).event("ready")
        try:
            await (await second.start_broker()).event("ready")
            yield owner, second
        finally:
            if second.broker is not None:
                await second.broker.end(signal.SIGKILL)


async def transactions(stand: Stand) -> list[dict[str, Any]]:
    url = f"{stand.rest}/v3/accounts/{ACCOUNT}/transactions/sinceid?id=1"
    async with stand.session.get(url, headers={"Authorization": "Bearer token-1"}) as answer:
        assert answer.status == 200
        return list((await answer.json())["transactions"])


def marks_of(log: list[dict[str, Any]]) -> list[str]:
    made = [item for item in log if item["type"] == "MARKET_ORDER"]
    return [item["clientExtensions"]["id"] for item in made if "clientExtensions" in item]


async def test_refusing_standby_names_the_owner_and_answers_reads(tmp_path: Path) -> None:
    async with two(tmp_path, standby="refuse") as (owner, standby):
        status, body = await standby.place_order(client_order_id="a")
        assert (status, body["reason"], body["owner"]) == (409, "NotOwner", owner.url)
        status, account = await standby.call("GET", "/v1/account")
        assert (status, account["id"]) == (200, ACCOUNT)
        status, order = await owner.place_order(client_order_id="b", type="limit", price="1.05")
        assert status == 201
        status, listed = await standby.call("GET", "/v1/orders")
        assert [item["id"] for item in listed["orders"]] == [order["id"]]


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of an order."""

    id: str
    is_absent: bool
    """Journaled by an owner that was killed before it sent: it is presumed absent, and never sent again."""


async def insist(standby: Stand, name: str, units: int) -> Result:
    """Sends an order again with the same key until its result is known."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        status, body = await standby.place_order(client_order_id=name, units=str(units))
        assert status in {201, 202, 429, 503, 504}, (status, body)
        if status == 201 or body.get("status") == "presumed_absent":
            return Result(str(body["id"]), is_absent=status != 201)
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} came to no result")


async def test_paused_owner_that_wakes_up_does_not_do_what_was_passed_on_to_it(tmp_path: Path) -> None:
    """Its share of the requests lies in its socket while its lease runs out and the standby takes them again."""
    async with two(tmp_path, standby="forward", shared=False) as (owner, standby):
        assert owner.broker is not None
        await insist(standby, "before", 1)
        owner.broker.child.send_signal(signal.SIGSTOP)
        async with asyncio.TaskGroup() as group:
            taken = [group.create_task(insist(standby, f"order-{number}", number + 2)) for number in range(5)]
        owner.broker.child.send_signal(signal.SIGCONT)
        status, refused = await owner.place_order(client_order_id="late", units="50")
        again = [await insist(standby, f"order-{number}", number + 2) for number in range(5)]
        marks = marks_of(await transactions(standby))
    assert [task.result() for task in taken] == again
    assert len(marks) == len(set(marks)) == 6 + (status == 201), refused


@pytest.mark.parametrize("shared", [True, False])
async def test_orders_passed_on_while_the_owner_is_killed_are_done_once(tmp_path: Path, *, shared: bool) -> None:
    """The caller asks the standby only, and again with the same key whatever it is told."""
    async with two(tmp_path, standby="forward", shared=shared) as (owner, standby):
        assert owner.broker is not None
        placed: dict[str, Result] = {}

        async def place(number: int) -> None:
            placed[f"order-{number}"] = await insist(standby, f"order-{number}", number + 1)

        for number in range(5):
            await place(number)
        before = len(marks_of(await transactions(owner)))
        async with asyncio.TaskGroup() as group:
            for number in range(5, 15):
                group.create_task(place(number))
            await asyncio.sleep(0.02)
            await owner.broker.end(signal.SIGKILL)
        for number in range(15, 20):
            await place(number)
        marks = marks_of(await transactions(standby))
        assert before == 5
        assert len({result.id for result in placed.values()}) == 20
        done = [result.id for result in placed.values() if not result.is_absent]
        assert sorted(mark.split(".")[3] for mark in marks) == sorted(done)
        assert await standby.until("Ownership", ok=True)
        status, again = await standby.place_order(client_order_id="order-2", units="3")
        assert (status, again["id"]) == (201, placed["order-2"].id)


async def test_passed_on_over_mutual_tls(tmp_path: Path) -> None:
    async with two(tmp_path, standby="forward", tls=True) as (owner, standby):
        asked = {"instrument": "EUR_USD", "side": "buy", "type": "limit", "units": "1", "price": "1.05"}
        status, order = await standby.call("POST", "/v1/orders", json=asked, ssl=False)
        assert status == 201, order
        status, listed = await standby.call("GET", "/v1/orders", ssl=False)
        assert [item["id"] for item in listed["orders"]] == [order["id"]]
        status, ended = await standby.call("DELETE", f"/v1/orders/{order['id']}", ssl=False)
        assert (status, ended["status"]) == (200, "cancelled")
        status, seen = await owner.call("GET", f"/v1/orders/{order['id']}", ssl=False)
        assert (status, seen["status"]) == (200, "cancelled")
