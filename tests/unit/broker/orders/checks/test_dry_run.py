from __future__ import annotations

from decimal import Decimal

import pytest

from broker.domain import OrderType, Side
from broker.orders.checks import risk
from broker.orders.errors import NotReadyError
from broker.orders.model.trading_state import TradingState
from broker.orders.settings import RiskLimits
from broker.venue.errors import VenueError
from tests.unit.broker.orders.fake_venue import FakeVenue
from tests.unit.broker.orders.order_service_fixture import MakeRequest, OrderServiceHarness


async def test_a_tried_order_is_neither_sent_nor_kept(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        found = await service.try_order(make_request())
        assert (found.denial, venue.writes, service.open_orders()) == (None, [], [])
        assert (await service.place(make_request())).order.status == "filled", "the trial has not used the id up"


async def test_who_does_not_own_the_account_tries_orders_all_the_same(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service():
        other = OrderServiceHarness(venue, harness.directory)
        async with other.service(wait_ready=False, standby="forward") as standby:
            with pytest.raises(NotReadyError):
                await standby.place(make_request())
            assert (await standby.try_order(make_request())).denial is None
    assert venue.writes == []


@pytest.mark.parametrize(
    ("changed", "check"),
    [({"account": "999"}, "account"), ({"instrument": "XXX_YYY"}, "instrument"), ({"units": Decimal(10**9)}, "size")],
)
async def test_a_trial_names_the_check_that_denies(
    harness: OrderServiceHarness, make_request: MakeRequest, changed: dict[str, object], check: str
) -> None:
    async with harness.service() as service:
        found = await service.try_order(make_request(**changed))
    assert found.denial is not None
    assert found.denial.check == check


async def test_a_trial_that_passes_has_made_all_but_the_owners_checks(
    harness: OrderServiceHarness, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        found = await service.try_order(make_request())
    assert found.checks == (
        "account",
        "state",
        "instrument",
        "form",
        "precision",
        "size",
        "reducing",
        "position",
        "tradeable",
        "stale_price",
        "collar",
        "protection",
        "notional",
        "gross_exposure",
        "margin",
        "open_orders",
    )
    assert found.not_made == ("order_rate", "duplicate", "daily_loss", "circuit")


async def test_checks_behind_a_denial_are_not_reported(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    async with harness.service() as service:
        found = await service.try_order(make_request(units=Decimal(10**9)))
    assert found.checks == ("account", "state", "instrument", "form", "precision", "size")
    assert found.not_made[0] == "reducing"
    assert set(found.not_made) == set(risk.CHECKS) - set(found.checks)


async def test_a_closed_market_is_named_by_its_check(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        venue.tradeable = False
        found = await service.try_order(make_request())
    assert found.denial is not None
    assert found.denial.check == "tradeable"


async def test_the_owners_trading_state_counts(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    async with harness.service() as service:
        service.set_state(TradingState.HALTED, "tester", "a test")
        found = await service.try_order(make_request())
    assert found.denial is not None
    assert found.denial.check == "state"


async def test_a_refused_token_fails_the_trial(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    async with harness.service() as service:
        venue.token = "another"
        with pytest.raises(VenueError):
            await service.try_order(make_request())


async def test_a_trial_of_an_exit_passes_what_guards_entries(
    harness: OrderServiceHarness, venue: FakeVenue, make_request: MakeRequest
) -> None:
    venue.position, venue.tradeable = Decimal(2000), False
    async with harness.service(account=RiskLimits(units=Decimal(1000), open_orders=1)) as service:
        service.set_state(TradingState.REDUCING, "tester", "a test")
        found = await service.try_order(make_request(side=Side.SELL, units=Decimal(2000)))
        turning = await service.try_order(make_request(side=Side.SELL, units=Decimal(2001)))
    assert found.denial is None
    assert turning.denial is not None
    assert turning.denial.check == "size"


async def test_a_trial_counts_what_rests_at_the_venue(harness: OrderServiceHarness, make_request: MakeRequest) -> None:
    async with harness.service(account=RiskLimits(position_units=Decimal(150))) as service:
        await service.place(make_request("resting", type=OrderType.LIMIT, price=Decimal("1.09")))
        found = await service.try_order(make_request())
    assert found.denial is not None
    assert found.denial.reason == "POSITION_LIMIT_EXCEEDED"
