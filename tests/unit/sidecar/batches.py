"""Definitions and batches for tests, and a client of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from grpc import aio

from telemetry_contract.v1 import telemetry_pb2 as pb

ORDER, SAMPLE = 1, 2
TIME_NS = 1_700_000_000_000_000_000


def order_define(event_id: int = ORDER, **changes: Any) -> pb.Define:
    """An order's event: a counter by status, a histogram of its duration, a log record."""
    define = pb.Define(
        event_id=event_id,
        name="order.transition",
        fields=[
            pb.Field(name="status", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_LABEL),
            pb.Field(name="side", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_LABEL),
            pb.Field(name="duration_s", type=pb.FIELD_TYPE_DOUBLE, role=pb.FIELD_ROLE_MEASURE),
            pb.Field(name="order_id", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_ATTRIBUTE),
        ],
        instruments=[
            pb.Instrument(
                name="broker.orders",
                kind=pb.INSTRUMENT_KIND_COUNTER,
                unit="{order}",
                labels=["status"],
                constant_labels={"broker": "oanda"},
            ),
            pb.Instrument(
                name="broker.order.duration",
                kind=pb.INSTRUMENT_KIND_HISTOGRAM,
                unit="s",
                measure="duration_s",
                labels=["side", "status"],
                bounds=[0.1, 0.5, 1.0],
            ),
        ],
        log=pb.LogTemplate(severity=pb.SEVERITY_INFO, body="Order reached a status"),
        reserved=True,
    )
    define.MergeFrom(pb.Define(**changes))
    return define


def sample_define(event_id: int = SAMPLE) -> pb.Define:
    """Samples: a gauge by channel and an up-down counter; no log record."""
    return pb.Define(
        event_id=event_id,
        name="sample",
        fields=[
            pb.Field(name="channel", type=pb.FIELD_TYPE_STRING, role=pb.FIELD_ROLE_LABEL),
            pb.Field(name="up", type=pb.FIELD_TYPE_INT64, role=pb.FIELD_ROLE_MEASURE),
        ],
        instruments=[
            pb.Instrument(name="connection.status", kind=pb.INSTRUMENT_KIND_GAUGE, measure="up", labels=["channel"]),
            pb.Instrument(name="connections", kind=pb.INSTRUMENT_KIND_UP_DOWN_COUNTER, measure="up"),
        ],
    )


def orders(rows: Sequence[tuple[str, str, float, str]], offsets: Sequence[int] = ()) -> pb.Group:
    """A group of orders: status and side dictionary-coded, (status, side, seconds, order id) each."""
    statuses, sides = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
    return pb.Group(
        event_id=ORDER,
        count=len(rows),
        offsets=offsets,
        base_time_unix_nano=TIME_NS,
        time_offsets_nano=range(len(rows)),
        columns=[
            pb.Column(values=statuses, indexes=[statuses.index(row[0]) for row in rows]),
            pb.Column(values=sides, indexes=[sides.index(row[1]) for row in rows]),
            pb.Column(doubles=[row[2] for row in rows]),
            pb.Column(values=[row[3] for row in rows]),
        ],
    )


def samples(rows: Sequence[tuple[str, int]], offsets: Sequence[int] = ()) -> pb.Group:
    """A group of samples: (channel, up) each, channels plain."""
    return pb.Group(
        event_id=SAMPLE,
        count=len(rows),
        offsets=offsets,
        base_time_unix_nano=TIME_NS,
        time_offsets_nano=range(len(rows)),
        columns=[pb.Column(values=[row[0] for row in rows]), pb.Column(integers=[row[1] for row in rows])],
    )


def batch(first: int, *groups: pb.Group) -> pb.Batch:
    """A batch from sequence `first` on."""
    return pb.Batch(first_sequence=first, count=sum(group.count for group in groups), groups=groups)


def filled(count: int, start: int = 0) -> pb.Group:
    """`count` filled orders of half a second."""
    return orders([("filled", "buy", 0.5, f"o{number}") for number in range(start, start + count)])


def hello(producer: str = "broker", session: str = "s1", **fields: Any) -> pb.Hello:
    """A Hello."""
    values = {"protocol_version": 1, "first_sequence": 1, **fields}
    return pb.Hello(producer_id=producer, session_id=session, **values)


class Client:
    """A producer's end of one stream."""

    def __init__(self, socket: Path) -> None:
        self._channel = aio.insecure_channel(f"unix:{socket}")
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue()
        publish: Any = self._channel.stream_stream("/telemetry.v1.TelemetryService/Publish")
        self.call = publish(self._requests())

    async def _requests(self) -> AsyncIterator[bytes]:
        while (message := await self._outgoing.get()) is not None:
            yield message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call.cancel()
        await self._channel.close()

    def send(self, **message: Any) -> None:
        """Sends a PublishRequest."""
        self._outgoing.put_nowait(pb.PublishRequest(**message).SerializeToString())

    def send_raw(self, raw: bytes) -> None:
        """Sends bytes."""
        self._outgoing.put_nowait(raw)

    def finish(self) -> None:
        """Sends nothing more."""
        self._outgoing.put_nowait(None)

    async def receive(self) -> pb.PublishResponse:
        """The next answer."""
        async with asyncio.timeout(120):
            return pb.PublishResponse.FromString(await self.call.read())

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """End of the stream; all before it is read."""
        async with asyncio.timeout(120):
            try:
                while await self.call.read() is not aio.EOF:
                    pass
            except aio.AioRpcError as error:
                return error.code(), error.details() or ""
            return await self.call.code(), ""

    async def open(self, message: pb.Hello | None = None) -> pb.Welcome:
        """Says Hello; the Welcome."""
        self.send(hello=message or hello())
        return (await self.receive()).welcome

    async def acknowledged(self, sequence: int) -> list[pb.Rejection]:
        """Waits until `sequence` is durable; what was refused meanwhile."""
        refused: list[pb.Rejection] = []
        while True:
            ack = (await self.receive()).ack
            refused += ack.rejected
            if ack.durable_through >= sequence:
                return refused
