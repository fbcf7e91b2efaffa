from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from broker.domain import OrderStatus, OrderType, Side
from broker.orders.checks.context import Circuit, CircuitState
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import RiskLimits
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness, wait_until

FRESH = Circuit(failures_to_open=3, pause_s=5.0)


def failed(circuit: Circuit, *times: float) -> Circuit:
    for at in times:
        circuit = circuit.after(at, failed=True)
    return circuit


def test_failures_in_a_row_open_it() -> None:
    assert failed(FRESH, 1.0, 2.0).allows(2.0)
    assert not failed(FRESH, 1.0, 2.0, 3.0).allows(3.0)


def test_an_answer_between_starts_the_count_anew() -> None:
    circuit = failed(failed(FRESH, 1.0, 2.0).after(2.5, failed=False), 3.0, 4.0)
    assert circuit.state(4.0) is CircuitState.CLOSED


def test_after_the_pause_one_order_tries() -> None:
    circuit = failed(FRESH, 1.0, 2.0, 3.0)
    assert circuit.state(8.0) is CircuitState.HALF_OPEN
    assert circuit.allows(8.0)
    assert not circuit.sent(8.0).allows(8.0)


def test_a_failed_try_opens_it_again_and_a_good_one_closes_it() -> None:
    trying = failed(FRESH, 1.0, 2.0, 3.0).sent(8.0)
    assert trying.after(8.5, failed=True).state(9.0) is CircuitState.OPEN
    assert trying.after(8.5, failed=False).state(9.0) is CircuitState.CLOSED


@given(st.lists(st.booleans(), max_size=30))
def test_it_never_stays_open_for_ever(outcomes: list[bool]) -> None:
    circuit = FRESH
    for at, outcome in enumerate(outcomes):
        circuit = circuit.sent(float(at)).after(float(at), failed=outcome)
    assert circuit.allows(len(outcomes) + FRESH.pause_s)


async def test_reducing_lets_a_position_be_closed_and_no_other_opened(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())
        service.set_state(TradingState.REDUCING, "operator", "end of day")
        opening = (await service.place(make_request("second"))).order
        closing = (await service.place(make_request("third", side=Side.SELL))).order

    assert (opening.status, opening.reason) == (OrderStatus.DENIED, "TRADING_REDUCING")
    assert closing.status is OrderStatus.FILLED


async def test_untradeable_is_denied_before_any_write(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.tradeable = False
    async with harness.service() as service:
        order = (await service.place(make_request())).order

    assert (order.status, order.reason) == (OrderStatus.DENIED, "MARKET_HALTED")
    assert venue.writes == []
    assert [(event.reason, event.source) for event in harness.of("OrderRefused")] == [("MARKET_HALTED", "risk")]


async def test_as_many_orders_are_open_as_the_limit_says(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(
        account=RiskLimits(open_orders=2), clients={"flow": RiskLimits(open_orders=2)}
    ) as service:
        for name in ("a", "b", "c"):
            await service.place(make_request(name, type=OrderType.LIMIT, price=Decimal("1.09000")))
        third = service.by_client_id("flow", "c")
        assert len(service.open_orders()) == 2
    assert third is not None
    assert (third.status, third.reason) == (OrderStatus.DENIED, "OPEN_ORDERS_LIMIT_EXCEEDED")
    assert len(venue.writes) == 2


async def test_replacement_takes_the_place_of_the_order_that_it_ends(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    limit, price = RiskLimits(open_orders=1), Decimal("1.09000")
    async with harness.service(account=limit, clients={"flow": limit}) as service:
        first = (await service.place(make_request("a", type=OrderType.LIMIT, price=price))).order
        second = (
            await service.replace(first.id, make_request("b", type=OrderType.LIMIT, price=Decimal("1.08000")))
        ).order
    assert second.status is OrderStatus.PENDING


async def test_replacement_in_another_instrument_frees_nothing_of_its_own_instruments_limit(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    theirs = venue.add("LIMIT_ORDER", instrument="GBP_USD", units="100", price="1.2", timeInForce="GTC")
    venue.pending[theirs["id"]] = theirs
    async with harness.service(account=RiskLimits(position_units=Decimal(100))) as service:
        (old,) = service.open_orders()
        larger = make_request("b", type=OrderType.LIMIT, price=Decimal("1.08000"), units=Decimal(200))
        order = (await service.replace(old.id, larger)).order

    assert (order.status, order.reason) == (OrderStatus.DENIED, "POSITION_LIMIT_EXCEEDED")


async def test_each_check_of_an_order_is_an_event(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    async with harness.service() as service:
        await service.place(make_request(instrument="NO_SUCH"))

    assert [(event.check, event.result) for event in harness.of("RiskCheck")] == [
        ("account", "passed"),
        ("state", "passed"),
        ("instrument", "denied"),
    ]


async def test_an_order_that_passes_all_checks_is_one_event(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        await service.place(make_request())

    assert len(harness.of("RiskPassed")) == 1
    assert harness.of("RiskCheck") == []


def is_used_up(harness: OrderServiceHarness, limit: str) -> bool:
    return any(event.limit == limit and event.ratio > 1 for event in harness.of("RiskUtilisation"))


async def transferred(venue: FakeVenue, amount: str, nav: str) -> None:
    """Money comes in or goes out, and the account is worth `nav`."""
    venue.nav = nav
    await venue.push(venue.add("TRANSFER_FUNDS", amount=amount, accountBalance=nav))


async def test_money_that_leaves_the_account_is_no_loss(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(daily_loss=Decimal(100), sample_s=0.1) as service:
        await transferred(venue, "-500.0000", "500.0000")
        await wait_until(lambda: len(harness.of("AccountSample")) > 0 and harness.of("AccountSample")[-1].nav == 500)
        assert (await service.place(make_request())).order.reason is None


async def test_money_that_comes_in_hides_no_loss_not_even_over_a_restart(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service(daily_loss=Decimal(100), sample_s=0.1):
        await transferred(venue, "5000.0000", "5899.0000")
        await wait_until(
            lambda: any(item.limit == "daily_loss" and item.ratio > 1 for item in harness.of("RiskUtilisation"))
        )
    async with harness.service(daily_loss=Decimal(100), sample_s=600.0) as service:
        assert (await service.place(make_request())).order.reason == "DAILY_LOSS_EXCEEDED"


async def test_transfer_while_the_broker_was_down_is_no_loss(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service():
        pass
    await transferred(venue, "-500.0000", "500.0000")
    async with harness.service(daily_loss=Decimal(100)) as service:
        assert (await service.place(make_request())).order.reason is None


async def test_transfer_before_the_days_first_value_is_in_it(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    await transferred(venue, "-500.0000", "500.0000")
    async with harness.service(daily_loss=Decimal(100), sample_s=0.1) as service:
        venue.nav = "399.0000"
        await wait_until(
            lambda: any(item.limit == "daily_loss" and item.ratio > 1 for item in harness.of("RiskUtilisation"))
        )
        assert (await service.place(make_request())).order.reason == "DAILY_LOSS_EXCEEDED"


async def test_account_that_turns_to_hedging_is_halted(harness: OrderServiceHarness, venue: FakeVenue) -> None:
    async with harness.service(sample_s=0.1) as service:
        venue.hedging = True
        await wait_until(lambda: service.state is TradingState.HALTED)


def test_order_that_told_nothing_lets_the_next_one_try() -> None:
    trying = failed(FRESH, 1.0, 2.0, 3.0).sent(8.0)
    assert trying.unanswered().allows(8.0)
    assert not failed(FRESH, 1.0, 2.0, 3.0).unanswered().allows(3.0)
