"""Several accounts behind one API: each request says which."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.api.application import build_application
from broker.history.archive import Archive
from tests.unit.broker.api.conftest import ACCOUNT, Client
from tests.unit.broker.api.fake_order_service import FakeDesk

OTHER = "101-004-1234567-002"


@pytest.fixture
async def both(api: Client) -> tuple[Client, FakeDesk]:
    desk = FakeDesk()
    other = api.surface.sibling(OTHER, desk, Archive(api.database, OTHER), list)
    other.ready.set()
    return replace(api, app=build_application(api.surface, other)), desk


async def test_one_account_need_not_be_named_and_may_be(api: Client) -> None:
    assert (await api("GET", "/v1/account")).status == 200
    assert (await api("GET", f"/v1/account?account={ACCOUNT}")).status == 200


@pytest.mark.parametrize("target", ["/v1/account", "/v1/account?account=", "/v1/account?account=101-004-1234567-009"])
async def test_account_that_is_not_one_of_several_is_422_with_its_field(
    both: tuple[Client, FakeDesk], target: str
) -> None:
    answer = await both[0]("GET", target)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert [item["field"] for item in answer.json()["errors"]] == ["account"]


async def test_order_goes_to_the_desk_of_its_account(both: tuple[Client, FakeDesk]) -> None:
    client, desk = both
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
    answer = await client("POST", f"/v1/orders?account={OTHER}", body=body)
    assert answer.status == 201
    assert [request.account for request in desk.placed] == [OTHER]
    assert client.desk.placed == []


async def test_accounts_have_the_quota_of_a_key_together(both: tuple[Client, FakeDesk]) -> None:
    client, _ = both
    surfaces = client.app.state.surfaces
    assert surfaces[ACCOUNT].quota is surfaces[OTHER].quota
