from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from broker.venue.rest.rate_limit import Admission, Bucket, Precedence, Throttle


@given(st.lists(st.floats(0.0, 0.05), min_size=1, max_size=400))
def test_no_second_sees_more_than_rate_and_burst(gaps: list[float]) -> None:
    bucket, now_s, passed = Bucket(90.0, 10.0), 1.0, []
    for gap in gaps:
        now_s += gap
        now_s += bucket.wait_s(now_s)
        bucket = bucket.taken(now_s)
        passed.append(now_s)
    for start in passed:
        assert sum(start <= at < start + 0.999999 for at in passed) <= 100


def test_burst_goes_at_once_and_then_the_rate_holds() -> None:
    bucket = Bucket(10.0, 3.0)
    for _ in range(3):
        assert bucket.wait_s(5.0) == 0.0
        bucket = bucket.taken(5.0)
    assert round(bucket.wait_s(5.0), 6) == 0.1
    assert bucket.wait_s(5.101) == 0.0


def test_tokens_come_back() -> None:
    bucket = Bucket(10.0, 3.0).taken(5.0).taken(5.0)
    assert round(bucket.tokens(5.0), 6) == 1.0
    assert bucket.tokens(6.0) == 3.0


def test_closed_bucket_opens_at_its_time() -> None:
    bucket = Bucket(10.0, 3.0).closed_until(7.0)
    assert round(bucket.wait_s(5.0), 6) == 2.0
    assert bucket.wait_s(7.001) == 0.0


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def throttle(clock: FakeClock, events: list[Any], admission: Admission | None = None) -> Throttle:
    return Throttle("requests", rate=1000.0, burst=1.0, now_s=clock, emit=events.append, admission=admission)


async def test_cancels_outrank_opens_and_opens_reads() -> None:
    clock, order = FakeClock(), []
    limit = throttle(clock, [])
    limit.obey(1.0)

    async def go(name: str, precedence: Precedence) -> None:
        await limit.enter(precedence)
        order.append(name)

    names = [
        ("read", Precedence.READ),
        ("open", Precedence.OPEN),
        ("cancel", Precedence.CANCEL),
        ("open2", Precedence.OPEN),
    ]
    tasks = [asyncio.create_task(go(*item)) for item in names]
    await asyncio.sleep(0)
    assert (order, limit.depth) == ([], 4)
    for _ in range(10):
        clock.now_s += 1.0
        limit.obey(0.0)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["cancel", "open", "open2", "read"]


async def test_waiter_that_leaves_is_no_bar() -> None:
    clock, events = FakeClock(), list[Any]()
    limit = throttle(clock, events)
    limit.obey(1.0)
    gone, stays = (asyncio.create_task(limit.enter(Precedence.OPEN)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    clock.now_s += 2.0
    limit.obey(0.0)
    assert await stays == 2.0
    assert [(event.bucket, event.wait_s) for event in events] == [("requests", 2.0)]


async def test_free_way_costs_no_wait_and_no_event() -> None:
    events: list[Any] = []
    assert await throttle(FakeClock(), events).enter(Precedence.OPEN) == 0.0
    assert events == []


class FakeAdmission:
    """An admission with one place."""

    def __init__(self) -> None:
        self.free = 1

    def reserve(self, _: int) -> bool:
        if not self.free:
            return False
        self.free -= 1
        return True

    def unreserve(self) -> None:
        self.free += 1


async def test_turn_is_given_with_a_place_only() -> None:
    clock = FakeClock()
    place = FakeAdmission()
    limit = throttle(clock, [], place)
    await limit.enter(Precedence.OPEN)
    clock.now_s += 1.0
    waiting = asyncio.create_task(limit.enter(Precedence.OPEN))
    await asyncio.sleep(0)
    assert (waiting.done(), limit.tokens) == (False, 1.0)
    place.free = 1
    limit.pump()
    await waiting
    assert (place.free, limit.tokens) == (0, 0.0)


async def test_place_of_one_that_leaves_when_let_through_goes_back() -> None:
    place = FakeAdmission()
    place.free = 0
    limit = throttle(FakeClock(), [], place)
    leaving = asyncio.create_task(limit.enter(Precedence.OPEN))
    await asyncio.sleep(0)
    place.free = 1
    limit.pump()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert place.free == 1


async def test_refused_waiters_get_the_error() -> None:
    limit = throttle(FakeClock(), [])
    limit.obey(1.0)
    waiting = asyncio.create_task(limit.enter(Precedence.OPEN))
    await asyncio.sleep(0)
    limit.refuse(lambda: OSError("no way"))
    assert [str(item) for item in await asyncio.gather(waiting, return_exceptions=True)] == ["no way"]
    assert limit.depth == 0
