"""Times at which things are due."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.secrets.lease.schedule import (
    NEVER,
    Act,
    Failures,
    HeldVersion,
    Life,
    Step,
    next_step,
    poll_at,
    token_steps,
)

chances = st.floats(0, 1, exclude_max=True)


def life(**changes: float) -> Life:
    values = {"start": 100.0, "born": 100.0, "ttl_s": 3600.0, "chance": 0.5, "last": NEVER} | changes
    return Life(renewable=bool(values.pop("renewable", True)), **values)


def test_a_lease_is_renewed_at_two_thirds() -> None:
    assert life(chance=0.0).renew_at() == 100 + 0.60 * 3600
    assert life(chance=0.5).renew_at() == pytest.approx(100 + 0.65 * 3600)


def test_what_cannot_be_renewed_is_not() -> None:
    assert life(renewable=False).renew_at() == NEVER
    assert life(ttl_s=0.0).renew_at() == NEVER


def test_a_lease_that_ends_for_certain_is_not_renewed_again() -> None:
    assert life(last=3700.0).renew_at() == NEVER


@given(
    ttl=st.floats(10, 1e6),
    maximum=st.floats(10, 1e7),
    chance=chances,
    overlap=st.floats(0, 600),
    renewable=st.booleans(),
)
def test_a_successor_comes_between_birth_and_end(
    ttl: float, maximum: float, chance: float, overlap: float, renewable: bool
) -> None:
    item = Life(start=0.0, born=0.0, ttl_s=ttl, renewable=renewable, chance=chance, last=max(ttl, maximum))
    certain = item.last if renewable else item.end
    due = item.replace_at(overlap)
    assert 0 < due < certain
    assert certain - due >= 0.25 * certain * (1 - 1e-9)


def test_a_renewal_that_gives_less_tells_the_end() -> None:
    renewed = life().renewed(2500.0, 600.0, 3600.0, 0.5)
    assert (renewed.end, renewed.last) == (3100.0, 3100.0)
    assert renewed.replace_at(0.0) < 3100.0


def test_a_full_renewal_tells_no_end() -> None:
    renewed = life().renewed(2500.0, 3600.0, 3600.0, 0.5)
    assert (renewed.end, renewed.last, renewed.replace_at(0.0)) == (6100.0, NEVER, NEVER)


def test_polls_are_spread() -> None:
    assert poll_at(10.0, 2.0, 0.0) == 12.0
    assert poll_at(10.0, 2.0, 0.999) == pytest.approx(11.8, abs=0.001)


@given(gaps=st.lists(st.tuples(st.booleans(), st.floats(0, 20), chances), max_size=80))
def test_at_most_ten_failures_lie_in_any_minute(gaps: list[tuple[bool, float, float]]) -> None:
    failures, now, times = Failures(), 0.0, []
    for fails, gap, chance in gaps:
        now = max(now + gap, failures.retry_at())
        if fails:
            failures.failed(now, chance)
            times.append(now)
        else:
            failures.succeeded()
    assert all(sum(start <= time < start + 60 for time in times) <= 10 for start in times)


def test_a_retry_waits_as_long_as_the_server_says() -> None:
    failures = Failures()
    failures.failed(100.0, 0.5, 45.0)
    assert failures.retry_at() == 145.0
    failures.succeeded()
    assert failures.retry_at() == -math.inf


def test_the_first_retry_comes_within_half_a_second() -> None:
    failures = Failures()
    failures.failed(100.0, 0.99)
    assert 100.25 <= failures.retry_at() <= 100.5


def step(held: HeldVersion | None, *, forced: str = "", poll: Act | None = None, now: float = 100.0) -> Step:
    return next_step(held, forced=forced, poll=poll, interval_s=2.0, overlap_s=60.0, now=now)


@pytest.mark.parametrize(
    ("held", "forced", "reason"),
    [
        (None, "", "first"),
        (HeldVersion(life=life(), leased=True), "requested", "requested"),
        (HeldVersion(life=life(), leased=False, newer=True), "", "new_version"),
        (HeldVersion(life=life(), leased=True, same_session=False), "", "new_token"),
        (HeldVersion(life=life(ttl_s=1.0, start=50.0), leased=True), "", "expired"),
    ],
)
def test_reasons_to_read_at_once(held: HeldVersion | None, forced: str, reason: str) -> None:
    assert step(held, forced=forced) == Step(act=Act.READ, at=100.0, reason=reason)


def test_a_new_token_is_no_reason_to_read_what_has_no_lease() -> None:
    held = HeldVersion(life=life(ttl_s=0.0), leased=False, same_session=False, polled=100.0)
    assert step(held, poll=Act.POLL).act is Act.POLL


def test_a_static_role_is_read_when_the_server_rotates_it() -> None:
    held = HeldVersion(life=life(ttl_s=0.0), leased=False, refresh_at=500.0)
    assert step(held) == Step(act=Act.READ, at=500.0, reason="rotated_by_server")


def test_a_certificate_is_replaced_before_its_end() -> None:
    found = step(HeldVersion(life=life(renewable=False), leased=False))
    assert (found.act, found.reason) == (Act.READ, "end_of_life")
    assert found.at == pytest.approx(3700 - 0.25 * 3600 - 0.05 * 3600)


def token_step(item: Life | None, **changes: object) -> Step:
    values: dict[str, object] = {"absent": "first", "tainted": False, "checked": 100.0, "interval_s": 2.0, "now": 100.0}
    steps = token_steps(item, **(values | changes))  # type: ignore[arg-type] # names are checked by the call
    return min(steps, key=lambda step: step.at)


def test_reasons_to_log_in() -> None:
    assert token_step(None).reason == "first"
    assert token_step(None, absent="revoked").reason == "revoked"
    assert token_step(life(), tainted=True).reason == "unknown_lease"
    assert token_step(life(), now=4000.0).reason == "expired"


def test_a_login_that_is_due_hides_no_renewal() -> None:
    old = life(last=3700.0, ttl_s=600.0, chance=0.0)
    steps = token_steps(old, absent="", tainted=True, checked=100.0, interval_s=2.0, now=100.0)
    assert {step.act: step.at for step in steps} == {Act.LOGIN: 100.0, Act.RENEW: 460.0, Act.CHECK: 102.0}


def test_a_token_is_looked_at_between_its_renewals() -> None:
    assert token_step(life(chance=0.0)) == Step(act=Act.CHECK, at=102.0, reason="check")
    assert token_step(life(chance=0.0), checked=2300.0).act is Act.RENEW
