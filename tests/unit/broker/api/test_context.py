"""Several accounts behind one API: each request says which."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.api.application import build_application
from broker.api.context import AccountApi
from broker.api.settings import ApiSettings
from broker.history.archive import Archive
from tests.unit.broker.api.conftest import ACCOUNT, Client
from tests.unit.broker.api.fake_order_service import FakeOrderService

OTHER = "101-004-1234567-002"


@pytest.fixture
async def both(api: Client) -> tuple[Client, FakeOrderService]:
    """The API with another account, and the other's order service."""
    orders = FakeOrderService()
    archive = Archive(api.database, OTHER)
    other = AccountApi(id=OTHER, orders=orders, archive=archive, market=api.market, conditions=list)
    context = replace(api.context, accounts={**api.context.accounts, OTHER: other})
    return replace(api, app=build_application(context)), orders


async def test_one_account_need_not_be_named_and_may_be(api: Client) -> None:
    assert (await api("GET", "/v1/account")).status == 200
    assert (await api("GET", f"/v1/account?account={ACCOUNT}")).status == 200


@pytest.mark.parametrize("target", ["/v1/account", "/v1/account?account=", "/v1/account?account=101-004-1234567-009"])
async def test_account_that_is_not_one_of_several_is_422_with_its_field(
    both: tuple[Client, FakeOrderService], target: str
) -> None:
    answer = await both[0]("GET", target)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert [item["field"] for item in answer.json()["errors"]] == ["account"]


async def test_order_goes_to_the_order_service_of_its_account(both: tuple[Client, FakeOrderService]) -> None:
    client, others = both
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
    answer = await client("POST", f"/v1/orders?account={OTHER}", body=body)
    assert answer.status == 201
    assert [request.account for request in others.placed] == [OTHER]
    assert client.orders.placed == []


class TestQuotaOfAKey:
    @pytest.fixture
    def settings(self) -> ApiSettings:
        return ApiSettings(tls="off", requests_per_s=0.001, request_burst=2)

    async def test_accounts_have_it_together(self, both: tuple[Client, FakeOrderService]) -> None:
        accounts = (ACCOUNT, OTHER, ACCOUNT)
        answers = [await both[0]("GET", f"/v1/account?account={account}") for account in accounts]
        assert [answer.status for answer in answers] == [200, 200, 429]
