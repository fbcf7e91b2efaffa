"""tpqoa (The Python Quants, MIT; `tpqoax` on the index) against the simulated venue: every method that it offers."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest
import v20
from tpqoa import tpqoa

from broker.simulator.http.server import Simulator
from tests.integration.venue_clients.walk import Walks, closing

# pandas 2 warns of the names of frequencies that tpqoa uses.
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore:'H' is deprecated:FutureWarning")]

WALKS = Walks(
    {
        "on_success": "a callback of `stream_data`, which is walked",
        "transform_datetime": "no request: a time as text",
        "stream_data_failsafe": "`stream_data` in a thread of its own, after it has set handlers of signals",
    }
)


@WALKS.of("get_instruments")
def lists_instruments(desk: Any) -> None:
    assert ("EUR/USD", "EUR_USD") in desk.get_instruments()


@WALKS.of("get_prices")
def reads_a_price(desk: Any) -> None:
    assert desk.get_prices("EUR_USD")[1:] == (1.08493, 1.08507)


@WALKS.of("get_history", "retrieve_data")
def reads_history_without_weekends(desk: Any) -> None:
    found = desk.get_history("EUR_USD", "2026-01-05", "2026-01-19", "D", "M")
    # The first covers the time that was asked for; Friday's ends on Friday, and Sunday's is Monday's.
    assert [day.day for day in found.index] == [4, 5, 6, 7, 8, 11, 12, 13, 14, 15, 18]
    assert {str(day.time()) for day in found.index} == {"22:00:00"}


@WALKS.of("get_history")
def reads_history_in_batches(desk: Any) -> None:
    found = desk.get_history("EUR_USD", "2026-01-05", "2026-01-09", "M1", "B")
    assert len(found) == 4 * 24 * 60


@WALKS.of("create_order")
def places_a_protected_order(desk: Any) -> None:
    fill = desk.create_order("EUR_USD", 100, sl_distance=0.01, tp_price="1.2", suppress=True, ret=True)
    assert (fill["type"], fill["units"]) == ("ORDER_FILL", "100.0")


@WALKS.of("create_order", "cancel_order")
def cancels_what_it_has_placed(desk: Any) -> None:
    order = desk.create_order("EUR_USD", 100, price="1.05", suppress=True, ret=True)
    assert desk.cancel_order(order["id"])["orderCancelTransaction"]["orderID"] == order["id"]


@WALKS.of("create_order")
def is_told_of_a_refusal(desk: Any) -> None:
    refused = desk.create_order("EUR_USD", 100, tsl_distance="0.00001", suppress=True, ret=True)
    assert refused["rejectReason"] == "TRAILING_STOP_LOSS_ON_FILL_PRICE_DISTANCE_MINIMUM_NOT_MET"


@WALKS.of("stream_data")
def streams_prices(desk: Any) -> None:
    seen: list[Any] = []
    desk.stream_data("EUR_USD", stop=1, callback=lambda *fields: seen.append(fields))
    assert [(item[0], *item[2:]) for item in seen] == [("EUR_USD", 1.08493, 1.08507)]


@WALKS.of("get_account_summary")
def reads_a_summary_and_an_account(desk: Any) -> None:
    assert desk.get_account_summary()["balance"] == "100000.0"
    assert desk.get_account_summary(detailed=True)["positions"] == []


@WALKS.of("get_transaction", "get_transactions", "print_transactions")
def reads_transactions(desk: Any) -> None:
    desk.create_order("EUR_USD", 100, suppress=True)
    assert [desk.get_transaction(4)] == desk.get_transactions(3)
    desk.print_transactions(2)


@WALKS.of("get_positions")
def reads_positions(desk: Any) -> None:
    desk.create_order("EUR_USD", -100, suppress=True)
    assert [item["short"]["units"] for item in desk.get_positions()] == ["-100.0"]


@WALKS.each
async def test_tpqoa(simulator: Simulator, tmp_path: Path, step: Any) -> None:
    settings = tmp_path / "oanda.cfg"
    fields = {"account_id": simulator.account, "access_token": simulator.token, "account_type": "practice"}
    settings.write_text("[oanda]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items()))
    desk = tpqoa(str(settings))
    own = (desk.ctx._session, desk.ctx_stream._session)
    host, _, port = simulator.rest_address.partition(":")
    # Its hosts are written into it.
    desk.ctx = desk.ctx_stream = v20.Context(host, int(port), ssl=False, token=simulator.token, poll_timeout=30)
    with closing(*own, desk.ctx._session):
        await asyncio.to_thread(step, desk)


def test_every_method_of_tpqoa_is_walked_or_named_with_a_reason() -> None:
    offered = {name for name, _ in inspect.getmembers(tpqoa, inspect.isfunction) if name[0] != "_"}

    assert WALKS.missing(offered) == set()
