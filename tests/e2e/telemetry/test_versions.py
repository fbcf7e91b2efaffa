"""A broker of the released contract with the sidecar of today, and the reverse, as processes over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pod_runtime.files.framing import records
from producer.stream.publish import PUBLISH
from tests.e2e.telemetry.emitter_and_sidecar import ROOT, TelemetryProcesses
from tests.otlp_receiver import OtlpReceiver

pytestmark = [pytest.mark.real, pytest.mark.slow]
RELEASED = ROOT / "proto" / "released" / "v1.binpb"
GOLDEN = ROOT / "tests" / "data" / "stream" / "version-1.bin"
"""Stream of a broker of the release, byte for byte."""


def released(name: str) -> Any:
    """A message class of the contract as it was released, whatever the contract says today."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(RELEASED.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"telemetry.v1.{name}"))


class OldSidecar:
    """Answers streams as the release did: Welcome, then an Ack for each batch."""

    def __init__(self) -> None:
        self._request, self._response = released("PublishRequest"), released("PublishResponse")
        self.orders: list[str] = []
        self.unknown = 0

    async def publish(self, requests: AsyncIterator[bytes], context: Any) -> None:
        fields: list[str] = []
        async for raw in requests:
            said = self._request.FromString(raw)
            answer = self._response()
            match said.WhichOneof("message"):
                case "hello":
                    answer.welcome.protocol_version = 1
                    answer.welcome.durable_through = said.hello.first_sequence - 1
                    answer.welcome.window_bytes = 1 << 20
                    answer.welcome.heartbeat_interval_ms = 200
                case "define":
                    if said.define.name == "broker.order.transition":
                        fields = [item.name for item in said.define.fields]
                    continue
                case "batch":
                    for group in said.batch.groups:
                        column = group.columns[fields.index("order_id")]
                        self.orders += [column.values[place] for place in column.indexes] or column.values
                    answer.ack.durable_through = said.batch.first_sequence + said.batch.count - 1
                case None:
                    self.unknown += 1
                    continue
                case _:
                    continue
            await context.write(answer.SerializeToString())


async def test_a_broker_of_today_delivers_to_the_sidecar_of_the_release(tmp_path: Path) -> None:
    old, server = OldSidecar(), grpc.aio.server()
    method: Any = grpc.stream_stream_rpc_method_handler(old.publish)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PUBLISH.split("/")[1], {"Publish": method}),))
    (tmp_path / "run").mkdir()
    server.add_insecure_port(f"unix:{tmp_path}/run/telemetry.sock")
    await server.start()
    processes = TelemetryProcesses(tmp_path)
    try:
        await processes.start_load()
        await asyncio.sleep(0.5)
        assert processes.load is not None
        assert await processes.load.stop(30) == 0, processes.load.last_lines()
    finally:
        await processes.stop()
        await server.stop(0)
    notes = processes.notes()
    assert len(old.orders) == len(set(old.orders)) > 100
    assert {int(order) for order in old.orders} == notes.done
    assert old.unknown == 0


async def test_a_broker_of_the_release_is_served_by_the_sidecar_of_today(tmp_path: Path) -> None:
    response = released("PublishResponse")
    async with OtlpReceiver() as receiver:
        processes = TelemetryProcesses(tmp_path, endpoint=receiver.endpoint)
        try:
            await processes.start_sidecar()
            async with grpc.aio.insecure_channel(f"unix:{tmp_path}/run/telemetry.sock") as channel:
                call: Any = channel.stream_stream(PUBLISH, response_deserializer=response.FromString)()
                for record in records(GOLDEN.read_bytes()):
                    await call.write(record.payload)
                async with asyncio.timeout(120):
                    welcome, ack = await call.read(), await call.read()
                assert (welcome.welcome.protocol_version, welcome.welcome.durable_through) == (1, 7)
                assert (ack.ack.durable_through, list(ack.ack.rejected)) == (10, [])
                await call.done_writing()
                await receiver.wait_records(2)
        finally:
            await processes.stop()
    told = sorted((record["attributes"]["shop"], record["attributes"]["number"]) for record in receiver.by_id.values())
    assert told == [("north", 1), ("south", -(1 << 40))]
