from __future__ import annotations

import pytest
from msgspec import structs

from sidecar.console.document import StatusDocument
from sidecar.console.event_stream import TooManyWatchersError, Watchers
from tests.unit.sidecar.console.sidecar_state import status


def tick(number: int) -> StatusDocument:
    return structs.replace(status(), pid=number)


async def test_a_watcher_that_is_far_behind_misses_a_status_and_no_more() -> None:
    watchers = Watchers(1)
    messages = watchers.enter()
    for number in range(100):
        watchers.tell(tick(number))
    assert messages.full()
    messages.get_nowait()
    watchers.tell(tick(4321))
    waiting = [messages.get_nowait() for _ in range(messages.qsize())]
    assert b'"pid":4321,' in (waiting[-1] or b"")


def test_a_watcher_of_events_alone_gets_no_status() -> None:
    watchers = Watchers(1)
    messages = watchers.enter(wants_status=False)
    watchers.tell(tick(1))
    assert messages.empty()


def test_there_is_room_for_so_many_and_again_when_one_leaves() -> None:
    watchers = Watchers(1)
    messages = watchers.enter()
    with pytest.raises(TooManyWatchersError):
        watchers.enter()
    watchers.leave(messages)
    watchers.enter()


def test_closing_ends_a_stream_that_is_full_and_lets_nobody_in() -> None:
    watchers = Watchers(2)
    messages = watchers.enter()
    for number in range(100):
        watchers.tell(tick(number))
    watchers.close()
    assert messages.get_nowait() is None
    with pytest.raises(TooManyWatchersError):
        watchers.enter()
