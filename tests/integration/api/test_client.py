"""The client of the order API against a running broker."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

import broker_client as bc
from tests.integration.api.broker_process import DEADLINE_S, ROOT, Stand, standing
from tests.unit.broker.secret_volume import KEYS

pytestmark = pytest.mark.real


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(tmp_path) as made:
        await made.start_ready()
        yield made


@pytest.fixture
async def broker(stand: Stand) -> AsyncIterator[bc.BrokerClient]:
    async with bc.BrokerClient(stand.url, api_key=KEYS["flow"]) as made:
        yield made


def market(units: int) -> bc.OrderBody:
    return bc.OrderBody(instrument="EUR_USD", side=bc.Side.BUY, type=bc.OrderType.MARKET, units=Decimal(units))


async def test_an_order_is_placed_once_for_its_key_and_read_back(broker: bc.BrokerClient) -> None:
    placed = await broker.place_order(market(100), idempotency_key="once")
    again = await broker.place_order(market(100), idempotency_key="once")
    assert (placed.status, placed.filled_units, again.id) == (bc.OrderStatus.FILLED, Decimal(100), placed.id)
    (position,) = (await broker.list_positions()).positions
    assert position.units == 100
    with pytest.raises(bc.ConflictError) as caught:
        await broker.place_order(market(200), idempotency_key="once")
    assert caught.value.kind == "client-order-id-conflict"


async def test_an_order_whose_answer_is_lost_is_waited_for(stand: Stand, broker: bc.BrokerClient) -> None:
    await stand.fault(kind="reset_after", method="POST", path="/orders")
    order = await broker.wait_settled(await broker.place_order(market(100)), deadline_s=DEADLINE_S)
    assert (order.status, order.filled_units) == (bc.OrderStatus.FILLED, Decimal(100))


async def test_a_resting_order_is_replaced_and_cancelled(broker: bc.BrokerClient) -> None:
    (quote,) = (await broker.list_prices(instruments="EUR_USD")).prices
    low = (quote.bid * Decimal("0.99")).quantize(quote.bid)
    limit = bc.OrderBody(instrument="EUR_USD", side=bc.Side.BUY, type=bc.OrderType.LIMIT, units=Decimal(100), price=low)
    placed = await broker.place_order(limit)
    replaced = await broker.replace_order(placed.id, limit)
    assert [item.id for item in (await broker.list_orders()).orders] == [replaced.id]
    assert (await broker.cancel_order(replaced.id)).status == bc.OrderStatus.CANCELLED


async def test_fields_that_are_wrong_and_scopes_that_are_missing_are_named(
    stand: Stand, broker: bc.BrokerClient
) -> None:
    with pytest.raises(bc.InvalidRequestError) as caught:
        await broker.place_order(market(-1))
    assert caught.value.problem is not None
    assert [fault.field for fault in caught.value.problem.errors or []] == ["units"]
    with pytest.raises(bc.NotPermittedError, match="lacks the scope 'admin'"):
        await broker.put_state(bc.StateBody(state="halted", reason="test"))
    async with bc.BrokerClient(stand.url, api_key="no such key") as stranger:
        with pytest.raises(bc.NotPermittedError, match="not known"):
            await stranger.get_account()


async def test_the_stream_shows_an_order_that_is_placed_while_it_is_open(broker: bc.BrokerClient) -> None:
    async with asyncio.timeout(DEADLINE_S), broker.stream_events(types="order") as events:
        assert (await anext(events)).kind == "connected"
        placed = await broker.place_order(market(100))
        async for event in events:
            if isinstance(event.data, bc.OrderView) and event.data.status == bc.OrderStatus.FILLED:
                assert event.data.id == placed.id
                break


async def test_the_example_buys_and_closes(stand: Stand, broker: bc.BrokerClient, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEYS["flow"] + "\n")
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", ROOT / "examples" / "python" / "trader.py", stand.url, tmp_path / "key"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PYTHONPATH": str(ROOT)},
    )
    async with asyncio.timeout(2 * DEADLINE_S):
        output, _ = await program.communicate()
    assert [line.partition(" at ")[0] for line in output.decode().splitlines()] == ["filled: 100", "filled: 100"]
    assert (await broker.list_positions()).positions == []
