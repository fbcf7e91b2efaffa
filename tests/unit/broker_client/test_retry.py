from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_client.retry import RetryPolicy
from pod_runtime.backoff import Backoff

POLICY = RetryPolicy(attempts=3, pauses=Backoff(base_s=1.0, cap_s=4.0))


def pause(status: int, **changed: Any) -> float | None:
    usual: dict[str, Any] = {
        "attempt": 1,
        "is_repeatable": True,
        "retry_after_s": None,
        "remaining_s": 60.0,
        "chance": 1.0,
    }
    return POLICY.pause_s(status, **(usual | changed))


@pytest.mark.parametrize("status", [0, 502, 504])
def test_an_open_result_is_asked_for_again_only_with_a_request_that_may_be_repeated(status: int) -> None:
    assert pause(status) == 1.0
    assert pause(status, is_repeatable=False) is None


@pytest.mark.parametrize("status", [429, 503])
def test_every_request_of_which_nothing_was_done_is_sent_again(status: int) -> None:
    assert pause(status, is_repeatable=False) == 1.0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_an_answer_that_a_retry_cannot_change_is_final(status: int) -> None:
    assert pause(status) is None


def test_the_pause_is_behind_what_the_broker_asks_for() -> None:
    assert pause(429, retry_after_s=2.0) == 3.0


def test_there_is_no_retry_that_would_begin_behind_the_deadline() -> None:
    assert pause(503, retry_after_s=59.5) is None


def test_the_last_attempt_is_the_last() -> None:
    assert pause(503, attempt=2) == 2.0
    assert pause(503, attempt=3) is None


def test_a_policy_without_an_attempt_is_refused() -> None:
    with pytest.raises(ValueError, match="attempts is 0; it must be 1"):
        RetryPolicy(attempts=0)


@given(
    status=st.integers(0, 599),
    attempt=st.integers(1, 5),
    is_repeatable=st.booleans(),
    retry_after_s=st.none() | st.floats(0, 100),
    remaining_s=st.floats(0, 100),
    chance=st.floats(0, 1),
)
def test_a_pause_is_as_long_as_asked_and_ends_before_the_deadline(**given_values: Any) -> None:
    found = POLICY.pause_s(**given_values)
    assert found is None or (given_values["retry_after_s"] or 0) < found < given_values["remaining_s"]
