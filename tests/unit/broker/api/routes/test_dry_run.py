from __future__ import annotations

import pytest

from broker.api.schemas.responses import TYPE_PREFIX
from broker.orders.checks.risk import Denial
from broker.venue.errors import NotSentError
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.secret_volume import KEYS

ORDER = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}


async def test_a_tried_order_is_not_placed(api: Client) -> None:
    answer = await api("POST", "/v1/orders/test", body=ORDER)
    assert answer.status == 200
    assert answer.json() == {
        "would_be_sent": True,
        "check": None,
        "reason": None,
        "message": None,
        "checks": ["account", "state"],
        "not_made": ["duplicate"],
        "trades_account": True,
        "bid": "1.10000",
        "ask": "1.10020",
    }
    assert (len(api.orders.tried), api.orders.placed) == (1, [])
    assert api.events[-1].route == "/v1/orders/test", "what the pre-promotion analysis measures"


async def test_a_preview_answers_itself_and_passes_nothing_on(api: Client) -> None:
    api.orders.owner = "10.0.0.1:8080"
    answer = await api("POST", "/v1/orders/test", body=ORDER)
    assert (answer.status, answer.json()["trades_account"]) == (200, False)
    assert len(api.orders.tried) == 1


async def test_a_denial_is_an_answer_with_its_check(api: Client) -> None:
    api.orders.denial = Denial(check="collar", reason="PRICE_COLLAR", message="too far")
    found = (await api("POST", "/v1/orders/test", body=ORDER)).json()
    assert (found["would_be_sent"], found["check"], found["reason"]) == (False, "collar", "PRICE_COLLAR")


async def test_a_venue_that_cannot_be_asked_is_a_bad_gateway(api: Client) -> None:
    api.orders.fault = NotSentError("refused", operation="pricing")
    answer = await api("POST", "/v1/orders/test", body=ORDER)
    assert (answer.status, answer.json()["type"]) == (502, TYPE_PREFIX + "venue-unavailable")


@pytest.mark.parametrize(("body", "key", "status"), [({**ORDER, "unit": "1"}, "flow", 422), (ORDER, "auditor", 403)])
async def test_who_may_not_trade_or_sends_nonsense_is_told_so(
    api: Client, body: dict[str, str], key: str, status: int
) -> None:
    assert (await api("POST", "/v1/orders/test", body=body, key=KEYS[key])).status == status
    assert api.orders.tried == []
