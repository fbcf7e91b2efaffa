"""A sidecar that speaks the contract and keeps what it is told; it can fall silent, break off and refuse."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from telemetry_contract.v1 import telemetry_pb2 as pb
from telemetry_contract.v1 import telemetry_pb2_grpc as rpc


@dataclass
class SidecarFake(rpc.TelemetryServiceServicer):
    window_bytes: int = 1 << 20
    max_message_bytes: int = 1 << 20
    heartbeat_interval_ms: int = 40
    break_every: int = 0
    """Ends the stream after so many batches."""
    silent: bool = False
    """Takes batches but does not acknowledge."""
    refuse: bool = False
    hellos: list[pb.Hello] = field(default_factory=list)
    defines: dict[int, pb.Define] = field(default_factory=dict)
    heartbeats: list[pb.Heartbeat] = field(default_factory=list)
    news: list[pb.PublishRequest] = field(default_factory=list)
    goodbyes: list[str] = field(default_factory=list)
    durable: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    taken: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    batches: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    most_unacknowledged: int = 0

    async def Publish(self, requests: Any, context: Any) -> AsyncIterator[pb.PublishResponse]:  # noqa: N802 - gRPC's name
        if self.refuse:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many producers")
        session, batches, unacknowledged = "", 0, 0
        async for request in requests:
            kind = request.WhichOneof("message")
            if kind == "hello":
                session = request.hello.session_id
                self.hellos.append(request.hello)
                self.durable[session] = max(self.durable[session], request.hello.first_sequence - 1)
                yield self._welcome(session)
            elif kind == "batch":
                unacknowledged += len(request.SerializeToString())
                self.most_unacknowledged = max(self.most_unacknowledged, unacknowledged)
                self._take(session, request.batch)
                batches += 1
                if self.break_every and batches >= self.break_every:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
                if not self.silent:
                    unacknowledged = 0
                    yield pb.PublishResponse(ack=pb.Ack(durable_through=self.durable[session]))
            else:
                self._hear(kind, request)

    def _welcome(self, session: str) -> pb.PublishResponse:
        welcome = pb.Welcome(
            protocol_version=1,
            durable_through=self.durable[session],
            window_bytes=self.window_bytes,
            limits=pb.Limits(max_message_bytes=self.max_message_bytes, max_batch_events=200),
            heartbeat_interval_ms=self.heartbeat_interval_ms,
        )
        return pb.PublishResponse(welcome=welcome)

    def _take(self, session: str, batch: pb.Batch) -> None:
        self.batches.append(batch.count)
        durable = self.durable[session]
        if batch.first_sequence > durable + 1:
            self.faults.append(f"gap: {batch.first_sequence} after {durable}")
        if sum(group.count for group in batch.groups) != batch.count:
            self.faults.append("groups do not cover the batch")
        unknown = {group.event_id for group in batch.groups} - self.defines.keys()
        self.faults += [f"{event_id} is not defined" for event_id in unknown]
        fresh = range(max(batch.first_sequence, durable + 1), batch.first_sequence + batch.count)
        self.taken[session].extend(fresh)
        self.durable[session] = max(durable, batch.first_sequence + batch.count - 1)

    def _hear(self, kind: str | None, request: pb.PublishRequest) -> None:
        if kind == "define":
            self.defines[request.define.event_id] = request.define
        elif kind == "heartbeat":
            self.heartbeats.append(request.heartbeat)
        elif kind == "goodbye":
            self.goodbyes.append(request.goodbye.reason)
        else:
            self.news.append(request)


@asynccontextmanager
async def listening(fake: SidecarFake, socket: Path) -> AsyncIterator[SidecarFake]:
    socket.parent.mkdir(exist_ok=True)
    socket.unlink(missing_ok=True)
    server = grpc.aio.server()
    rpc.add_TelemetryServiceServicer_to_server(fake, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(0)


async def until(holds: Any, deadline_s: float = 120.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not holds():
            await asyncio.sleep(0.005)
