from __future__ import annotations

import json
from decimal import Decimal

import pytest

from broker.api.schemas.events import KINDS, EventFilter, event_of
from broker.domain import OrderRequest, OrderType, Quote, Side
from broker.orders.event_stream import Gap, Streamed
from broker.orders.model.trading_state import AccountControl, TradingState
from broker.orders.store.journal import JournalMark
from broker.orders.store.tail import Change
from broker.orders.updates import Missed
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.api.fake_order_service import NOW, make_order

REQUEST = OrderRequest(
    client_order_id="a",
    client="flow",
    account="101-004-1234567-001",
    instrument="EUR_USD",
    type=OrderType.MARKET,
    side=Side.BUY,
    units=Decimal(100),
)
QUOTE = Quote(instrument="USD_JPY", bid=Decimal("150.001"), ask=Decimal("150.011"), time=NOW, received_at=NOW)
ALL = EventFilter(kinds=frozenset(KINDS))
ORDER = Change(position=7, crc=0xABC, order=make_order(REQUEST))
FILL = Change(position=8, crc=1, transaction={"id": "12", "type": "ORDER_FILL", "instrument": "EUR_USD"})
TRANSFER = Change(position=9, crc=2, transaction={"id": "13", "type": "TRANSFER_FUNDS"})
HALT = Change(position=10, crc=3, control=AccountControl(state=TradingState.HALTED, state_actor="ann"))


def test_order_is_an_event_with_its_whole_state() -> None:
    text = event_of(ORDER, ALL)

    assert text is not None
    assert text.startswith('event: order\ndata: {"id":"01JGX5TVK2M4N6P8Q0R2S4T001"')
    assert text.endswith("}\n\n")
    assert text.count("\n") == 3


def test_price_is_an_event() -> None:
    assert event_of(QUOTE, ALL) == (
        'event: price\ndata: {"instrument":"USD_JPY","bid":"150.001","ask":"150.011",'
        '"time":"2026-01-05T10:00:00.250000Z","tradeable":true}\n\n'
    )


def test_transaction_is_an_event_with_the_venues_object() -> None:
    raw = {"id": "12", "type": "ORDER_FILL", "time": "2026-01-05T10:00:00.250000000Z", "pl": "-0.5"}
    assert event_of(Change(position=8, transaction=raw), ALL) == (
        'event: transaction\ndata: {"id":12,"type":"ORDER_FILL","instrument":null,'
        '"time":"2026-01-05T10:00:00.250000000Z","transaction":{"id":"12","type":"ORDER_FILL",'
        '"time":"2026-01-05T10:00:00.250000000Z","pl":"-0.5"}}\n\n'
    )


def test_trading_state_is_an_event() -> None:
    assert event_of(HALT, ALL) == 'event: state\ndata: {"state":"halted","actor":"ann","reason":"start"}\n\n'


async def test_account_is_an_event_as_its_route_shows_it(api: Client) -> None:
    text = event_of(await api.orders.account(), ALL, "practice")

    assert text is not None
    assert json.loads(text.removeprefix("event: account\ndata: ")) == (await api("GET", "/v1/account")).json()


def test_missed_updates_and_gaps_are_told_whatever_was_asked_for() -> None:
    nothing = EventFilter(kinds=frozenset({"order"}), instruments=frozenset())

    assert event_of(Missed(3), nothing) == 'event: missed\ndata: {"count":3}\n\n'
    assert event_of(Gap(JournalMark(5, 1), "discarded"), nothing) == (
        'event: gap\ndata: {"reason":"discarded",'
        '"detail":"Changes before this event are missing here: read /v1/orders and /v1/history."}\n\n'
    )


@pytest.mark.parametrize(
    ("kinds", "names", "client", "shown"),
    [
        ("order", None, None, [ORDER]),
        ("price", None, None, [QUOTE]),
        ("transaction", None, None, [FILL, TRANSFER]),
        ("state", None, None, [HALT]),
        ("order,price,transaction,state", "USD_JPY", None, [QUOTE, TRANSFER, HALT]),
        ("order,price,transaction,state", "EUR_USD", None, [ORDER, FILL, TRANSFER, HALT]),
        ("order,transaction", None, "flow", [ORDER, FILL, TRANSFER]),
        ("order,transaction", None, "other", [FILL, TRANSFER]),
    ],
)
def test_only_what_was_asked_for_is_sent(
    kinds: str, names: str | None, client: str | None, shown: list[Streamed]
) -> None:
    wanted = EventFilter(
        kinds=frozenset(kinds.split(",")), instruments=frozenset([names]) if names else None, client=client
    )
    every: list[Streamed] = [ORDER, QUOTE, FILL, TRANSFER, HALT]

    assert [item for item in every if event_of(item, wanted) is not None] == shown
