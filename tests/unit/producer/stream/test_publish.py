from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from producer.stream.publish import PublishSession, SendWindow, StreamEndedError, pace
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.producer.samples import emitter, sale, settings


def test_a_batch_goes_where_the_window_has_room() -> None:
    window = SendWindow(window_bytes=100, sent_through=0)
    window.send(10, 60)
    assert window.takes(40)
    assert not window.takes(41)
    window.acknowledge(10)
    assert window.takes(100)


def test_a_batch_larger_than_the_window_goes_alone() -> None:
    window = SendWindow(window_bytes=10, sent_through=0)
    assert window.takes(50)
    window.send(1, 50)
    assert not window.takes(1)


def test_an_acknowledgement_in_the_middle_of_a_batch_keeps_it_under_way() -> None:
    window = SendWindow(window_bytes=100, sent_through=0)
    window.send(10, 30)
    window.send(20, 30)
    window.acknowledge(19)
    assert (window.bytes, list(window.batches)) == (30, [(20, 30)])


@pytest.mark.parametrize(
    ("sent", "idle", "times"), [(1, 0, 1.0), (50, 0, 1.0), (100, 0, 2.0), (5000, 0, 8.0), (0, 1, 1.0), (0, 100, 4.0)]
)
def test_many_events_and_none_at_all_wait_longer(sent: int, idle: int, times: float) -> None:
    assert pace(sent, idle) == times


class BrokenCall:
    """A call that is over by the time of the first batch, as grpc.aio says it."""

    def __init__(self) -> None:
        self.written: list[pb.PublishRequest] = []
        self.cancelled = False
        self._reads = [pb.PublishResponse(welcome=pb.Welcome(window_bytes=1000))]

    async def write(self, data: bytes) -> None:
        request = pb.PublishRequest.FromString(data)
        if request.HasField("batch"):
            raise asyncio.InvalidStateError("RPC already finished.")
        self.written.append(request)

    async def read(self) -> pb.PublishResponse:
        if not self._reads:
            await asyncio.Event().wait()
        return self._reads.pop(0)

    def cancel(self) -> None:
        self.cancelled = True


class Channel:
    def __init__(self, call: BrokenCall) -> None:
        self._call = call

    def stream_stream(self, *_: Any, **__: Any) -> Any:
        return lambda: self._call


async def test_a_write_to_an_ended_call_ends_the_stream(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.emit(sale())
    call = BrokenCall()
    session = PublishSession(made.spool.queue, settings(tmp_path), coerced=Counter(), rejected=Counter())
    with pytest.raises(StreamEndedError, match="broken"):
        await session.run(Channel(call), lambda: False)  # type: ignore[arg-type] # what is used of a channel
    assert [item.WhichOneof("message") for item in call.written] == ["hello", "define", "define"]
    assert call.cancelled
    assert made.ledger().held == 1


def test_a_write_that_waits_gives_an_overdue_acknowledgement_no_time_anew(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    session = PublishSession(made.spool.queue, settings(tmp_path), coerced=made.coerced, rejected=Counter())
    session._window = SendWindow(100, 0, heard_at_s=time.monotonic() - 15.0)
    assert session._ack_left_s() == 20.0
    session._window.send(1, 10)
    assert session._ack_left_s() <= 5.0
    session._window.heard_at_s -= 60.0
    assert session._ack_left_s() == 1.0
    made.close()
