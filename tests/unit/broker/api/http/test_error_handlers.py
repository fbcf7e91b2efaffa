from __future__ import annotations

import pytest

from broker.orders.errors import DrainingError, NotReadyError
from broker.orders.store.journal import OrderJournalError
from broker.venue.errors import NotAuthorizedError, NotSentError, RateLimitedError
from producer.health import Condition
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.api.fake_order_service import NOW


async def test_unknown_address_and_method_are_problems(api: Client) -> None:
    assert (await api("GET", "/v2/orders")).problem == "not-found"
    wrong = await api("PATCH", "/v1/orders")
    assert (wrong.status, wrong.problem) == (405, "method-not-allowed")


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 60_000, b'"\\ud800"', b"\xff", b"null", b"[]", b"1e999999"])
async def test_body_that_is_no_order_is_a_client_error(api: Client, raw: bytes) -> None:
    answer = await api("POST", "/v1/orders", raw=raw)

    assert answer.status in {400, 422}
    assert answer.problem in {"bad-request", "invalid-request"}


async def test_json_of_another_content_type_is_a_client_error(api: Client) -> None:
    answer = await api("POST", "/v1/orders", raw=b"a=b", headers={"content-type": "application/x-www-form-urlencoded"})

    assert (answer.status, answer.problem) == (422, "invalid-request")


@pytest.mark.parametrize(
    ("fault", "status", "problem", "retry_after"),
    [
        (NotReadyError("StreamDown", 2.5), 503, "not-ready", "3"),
        (DrainingError(5.0), 503, "draining", "5"),
        (OrderJournalError("disk"), 503, "not-ready", "5"),
        (NotAuthorizedError("401"), 503, "not-ready", "2"),
        (RateLimitedError("429"), 503, "venue-busy", "1"),
        (NotSentError("no connection"), 502, "venue-unavailable", "1"),
    ],
)
async def test_order_service_that_cannot_is_a_problem_with_retry_after(
    api: Client, fault: Exception, status: int, problem: str, retry_after: str
) -> None:
    api.orders.fault = fault
    answer = await api.place()

    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (status, problem, retry_after)


async def test_standby_is_409_and_says_who_trades(api: Client) -> None:
    api.orders.fault = NotReadyError("NotOwner", 2.5)
    words = "the account is traded by broker (process 7, epoch 3)"
    api.account.conditions = lambda: [
        Condition(name="Ownership", ok=False, reason="NotOwner", message=words, since=NOW)
    ]
    answer = await api.place()

    assert (answer.status, answer.problem, answer.headers["retry-after"]) == (409, "not-owner-of-account", "3")
    assert words in answer.json()["detail"]
