from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal

import pytest

from broker.domain import Operation, Order, OrderType
from broker.orders.errors import ClientIdConflictError
from broker.orders.mass_actions import OrderFilter
from broker.orders.service import OrderService
from broker.orders.trades import TradeChange
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness

LIMIT = {"type": OrderType.LIMIT, "price": Decimal("1.09")}
Act = Callable[[OrderService, str], Awaitable[object]]


class History:
    """Orders that a service has forgotten."""

    def __init__(self, orders: list[Order]) -> None:
        self._orders = {(item.request.client, item.request.client_order_id): item for item in orders}

    async def first(self, client: str, client_order_id: str) -> Order | None:
        return self._orders.get((client, client_order_id))

    def note(self, client: str, client_order_id: str) -> None:
        pass


def operations(make_request: MakeRequest, first: str, second: str) -> dict[str, Act]:
    """Each operation on each target, under a key; `first` and `second` rest at the venue."""

    def named(key: str) -> dict[str, str]:
        return {"client": "flow", "client_order_id": key}

    return {
        "place": lambda service, key: service.place(make_request(key, operation=Operation.PLACE)),
        "replace A": lambda service, key: service.replace(first, make_request(key, **LIMIT)),
        "replace B": lambda service, key: service.replace(second, make_request(key, **LIMIT)),
        "close position": lambda service, key: service.close_position("EUR_USD", **named(key)),
        "close other position": lambda service, key: service.close_position("USD_JPY", **named(key)),
        "close part": lambda service, key: service.close_position("EUR_USD", units=Decimal(7), **named(key)),
        "close trade": lambda service, key: service.close_trade("1", **named(key)),
        "close other trade": lambda service, key: service.close_trade("2", **named(key)),
        "cancel all": lambda service, key: service.mass_actions.cancel_all("flow", key, OrderFilter()),
        "cancel some": lambda service, key: service.mass_actions.cancel_all(
            "flow", key, OrderFilter(instrument="USD_JPY")
        ),
        "change trade": lambda service, key: service.trades.change_orders(
            TradeChange(trade_id="1", legs={"stop_loss": None}, client="flow", key=key)
        ),
        "kill": lambda service, key: service.mass_actions.kill("flow", key, "test"),
        "close all": lambda service, key: service.mass_actions.close_all("flow", key, None, None),
        "close all of one": lambda service, key: service.mass_actions.close_all("flow", key, "EUR_USD", None),
    }


def key_of(name: str) -> str:
    return name.replace(" ", "-")


ORDER_MAKING = ("place", "close position", "close trade", "replace A")
"""Operations whose order has the key itself, in an order in which each finds what it needs."""


@pytest.mark.parametrize("known_by", ["memory", "journal", "history", "the venue's log"])
async def test_key_of_one_operation_is_refused_for_every_other(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest, known_by: str
) -> None:
    async with harness.service() as service:
        resting = [(await service.place(make_request(name, **LIMIT))).order.id for name in ("a", "b")]
        acts = operations(make_request, *resting)
        made = list(ORDER_MAKING)
        for name in ORDER_MAKING:
            await acts[name](service, key_of(name))
            await service.place(make_request(f"again {name}"))
        if known_by in {"memory", "journal"}:
            for name in ("change trade", "close all", "cancel some"):
                await acts[name](service, key_of(name))
                made.append(name)
        orders = [found for name in made if (found := service.by_client_id("flow", key_of(name))) is not None]
        if known_by == "memory":
            await refuse_every_other(service, acts, made)
    writes = len(venue.writes)
    if known_by in {"history", "the venue's log"}:
        harness.directory /= "another"
        harness.settings["read_back_transactions"] = 0 if known_by == "history" else 1000
        harness.memory = History(orders) if known_by == "history" else None
    if known_by == "the venue's log":
        made.remove("close trade")  # the venue keeps no id of a caller's for it
    if known_by != "memory":
        async with harness.service() as service:
            await refuse_every_other(service, acts, made)
    assert len(venue.writes) == writes


async def refuse_every_other(service: OrderService, acts: dict[str, Act], made: list[str]) -> None:
    for name in made:
        for other, act in acts.items():
            if other == name:
                await act(service, key_of(name))
                continue
            with pytest.raises(ClientIdConflictError) as caught:
                await act(service, key_of(name))
            assert (
                caught.value.used_for["operation"]
                == {
                    "place": "place",
                    "replace A": "replace",
                    "close position": "close_position",
                    "close trade": "close_trade",
                    "change trade": "change_trade_orders",
                    "close all": "close_all",
                    "cancel some": "cancel_all",
                }[name]
            ), (name, other)


async def test_conflict_says_the_order_that_the_key_made(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        order = (await service.place(make_request("signal-17"))).order
        with pytest.raises(ClientIdConflictError) as caught:
            await service.close_position("EUR_USD", client="flow", client_order_id="signal-17")

    assert str(caught.value) == (
        f"The key 'signal-17' was used to place an order (order {order.id}); it cannot be used to close the position "
        "in EUR_USD. Use a new key."
    )
    assert caught.value.used_for == {"operation": "place", "target": None, "order_id": order.id}
    assert [event.action for event in harness.of("DuplicateRequest")] == ["refused"]


async def test_two_operations_at_once_under_one_key_are_one_and_a_conflict(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        results = await asyncio.gather(
            service.mass_actions.close_all("flow", "key", None, None),
            service.place(make_request("key")),
            return_exceptions=True,
        )

    assert [isinstance(item, ClientIdConflictError) for item in results] == [False, True]
