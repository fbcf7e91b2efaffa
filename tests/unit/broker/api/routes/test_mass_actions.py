from __future__ import annotations

import pytest

from broker.orders.mass_actions import MassActions, OrderFilter, Outcome
from tests.unit.broker.api.conftest import ACCOUNT, Client
from tests.unit.broker.api.fake_order_service import FakeMassActions
from tests.unit.broker.secret_volume import KEYS


def asked(actions: MassActions) -> list[tuple[object, ...]]:
    assert isinstance(actions, FakeMassActions)
    return actions.asked


async def test_cancel_all_cancels_the_callers_own_orders(api: Client) -> None:
    answer = await api("POST", "/v1/orders/cancel", headers={"Idempotency-Key": "c-1"})

    assert (answer.status, answer.json()["complete"]) == (200, True)
    assert asked(api.orders.mass_actions) == [("cancel_all", "flow", "c-1", OrderFilter(client="flow"))]


async def test_cancel_all_takes_instrument_and_exits(api: Client) -> None:
    await api("POST", "/v1/orders/cancel", body={"instrument": "EUR_USD", "keep_exits": True})

    wanted = OrderFilter(instrument="EUR_USD", client="flow", keep_exits=True)
    assert asked(api.orders.mass_actions)[0][3] == wanted


async def test_orders_of_others_are_cancelled_by_an_administrator_only(api: Client) -> None:
    refused = await api("POST", "/v1/orders/cancel", body={"client": "boss"})
    one = await api("POST", "/v1/orders/cancel", body={"client": "flow"}, key=KEYS["boss"])
    every = await api("POST", "/v1/orders/cancel", key=KEYS["boss"])

    assert (refused.status, refused.problem) == (403, "not-owner")
    assert (one.status, every.status) == (200, 200)
    assert [item[3] for item in asked(api.orders.mass_actions)] == [OrderFilter(client="flow"), OrderFilter()]


async def test_outcome_that_leaves_something_to_do_is_207(api: Client) -> None:
    actions = api.orders.mass_actions
    assert isinstance(actions, FakeMassActions)
    actions.outcomes = (
        Outcome(subject="EUR_USD", outcome="refused", reason="MARKET_HALTED", message="closed"),
        Outcome(subject="USD_JPY", outcome="done"),
    )
    answer = await api("POST", "/v1/positions/close", body={"instrument": "EUR_USD"})

    assert answer.status == 207
    assert answer.json() == {
        "complete": False,
        "results": [
            {"subject": "EUR_USD", "outcome": "refused", "reason": "MARKET_HALTED", "message": "closed", "order": None},
            {"subject": "USD_JPY", "outcome": "done", "reason": None, "message": None, "order": None},
        ],
    }


async def test_repetition_is_said_in_the_header(api: Client) -> None:
    answers = [await api("POST", "/v1/positions/close", headers={"Idempotency-Key": "all-1"}) for _ in range(2)]

    assert [answer.headers["idempotent-replayed"] for answer in answers] == ["false", "true"]


@pytest.mark.parametrize("path", ["/v1/orders/cancel", "/v1/positions/close"])
async def test_reader_may_neither_cancel_nor_close(api: Client, path: str) -> None:
    assert (await api("POST", path, key=KEYS["auditor"])).status == 403
    assert asked(api.orders.mass_actions) == []


async def test_kill_switch_needs_the_account_as_confirmation(api: Client) -> None:
    body = {"confirm": "yes", "reason": "test"}
    answer = await api("POST", "/v1/admin/kill", body=body, key=KEYS["boss"])

    assert (answer.status, [item["field"] for item in answer.json()["errors"]]) == (422, ["confirm"])
    assert asked(api.orders.mass_actions) == []


async def test_kill_switch_tells_the_state_and_each_outcome(api: Client) -> None:
    body = {"confirm": ACCOUNT, "reason": "wrong prices"}
    answer = await api("POST", "/v1/admin/kill", body=body, key=KEYS["boss"], headers={"Idempotency-Key": "k"})

    assert (answer.status, answer.json()["state"]) == (200, "active")  # the fake halts nothing
    assert asked(api.orders.mass_actions) == [("kill", "boss", "k", "wrong prices")]


async def test_kill_switch_is_for_administrators(api: Client) -> None:
    assert (await api("POST", "/v1/admin/kill", body={"confirm": ACCOUNT, "reason": "x"})).status == 403


async def test_cancel_all_and_kill_switch_work_while_draining(api: Client) -> None:
    api.context.drain.set()
    cancelled = await api("POST", "/v1/orders/cancel")
    closed = await api("POST", "/v1/positions/close")
    killed = await api("POST", "/v1/admin/kill", body={"confirm": ACCOUNT, "reason": "x"}, key=KEYS["boss"])

    assert [cancelled.status, closed.status, killed.status] == [200, 503, 200]
