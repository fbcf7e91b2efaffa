"""`python -m tests.integration.network.clients PORTS.json`: one client of the product for each long-lived connection.

Each does a little work again and again, with the settings that the product has by default, and writes a line `NAME
SECONDS` (CLOCK_MONOTONIC) when something was delivered: a request answered, or a message of a stream read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, time_ns
from typing import Any

import aiohttp
import grpc
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from starlette.types import Message

from broker.api.forwarding.peer import ForwardedRequest, Peer
from broker.api.http.problem import Problem
from broker.api.settings import ApiSettings
from broker.history.database import DatabaseLogin, DatabaseUnavailableError
from broker.history.settings import HistorySettings
from broker.orders.ownership.cluster_lease import ClusterLease
from broker.venue.errors import VenueError
from broker.venue.settings import VenueSettings
from broker.venue.streams.line_stream import LineStream
from broker_client import BrokerClient
from broker_client.errors import OrderApiError
from pod_runtime.secret import Secret
from producer.stream.client import CHANNEL_OPTIONS, TelemetryStream
from sidecar.export.client import CollectorClient, Signal
from sidecar.export.settings import OtlpSettings
from sidecar.export.status import SignalStatus
from sidecar.secrets.agent import SecretsAgent
from sidecar.secrets.settings import AuthSettings, FileSettings, SecretSettings, SecretsSettings
from sidecar.selfmetrics.self_metrics import SelfMetrics
from tests.integration.network.namespaces import NAME
from tests.postgres import PASSWORD
from tests.unit.broker.history.conftest import HistoryParts
from tests.unit.broker.history.fake_journal import make_transaction
from tests.unit.producer.samples import emitter, sale, settings
from tests.unit.sidecar.secrets.agent_harness import AuditRecorder
from tests.unit.sidecar.selfmetrics.own_snapshot import FakeSource
from tests.venue_client import new_rest

Tell = Callable[[], None]
PACE_S = 0.5
LARGE = "x" * 2000
"""A part of requests, so that some need more than one packet."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the servers are, and a directory for what clients keep."""

    ports: Mapping[str, int]
    token: str
    account: str
    directory: Path

    def at(self, name: str) -> str:
        return f"{NAME}:{self.ports[name]}"


async def otlp(place: Place, tell: Tell) -> None:
    client = CollectorClient(
        OtlpSettings(endpoint=f"http://{place.at('otlp')}"), clock=time_ns, chance=random.Random(1).random
    )
    path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
    signal = Signal("logs", path, logs.ExportLogsServiceResponse, SignalStatus())
    request = logs.ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.body.string_value = LARGE
    while True:
        await client.send(signal, request.SerializeToString())
        tell()
        await asyncio.sleep(PACE_S)


async def own_metrics(place: Place, tell: Tell) -> None:
    """What arrives is seen by the receiver."""
    otlp = OtlpSettings(endpoint=f"http://{place.at('own_metrics')}", own_metrics=True)
    await SelfMetrics(FakeSource(), {"service.name": "sidecar"}, otlp).run(asyncio.Event())


async def vault(place: Place, tell: Tell) -> None:
    files = {name: place.directory / name for name in ("role-id", "secret-id")}
    configured = SecretsSettings(
        address="http://localhost:8200",
        auth=AuthSettings(method="approle", role_id_file=files["role-id"], secret_id_file=files["secret-id"]),
        directory=place.directory / "published",
        lease_journal=place.directory / "leases",
        require_tmpfs=False,
        secrets=(SecretSettings(name="venue", source="kv", path="venue", files=(FileSettings(name="venue.json"),)),),
    )
    # Plain HTTP is for loopback only; this network is the test's own.
    object.__setattr__(configured, "address", f"http://{place.at('vault')}")
    agent = SecretsAgent(configured, audit=AuditRecorder())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(agent.run(asyncio.Event()))
        polls = 0
        while True:
            await asyncio.sleep(0.1)
            found = agent.status().requests.get(("poll", "ok"), 0)
            if found > polls:
                polls = found
                tell()


def _venue(place: Place) -> Any:
    configured = VenueSettings(
        account=place.account, rest_url=f"http://{place.at('venue')}", stream_url=f"http://{place.at('venue_stream')}"
    )
    return new_rest(configured, lambda: Secret(place.token), chance=random.Random(2).random)


async def venue_requests(place: Place, tell: Tell) -> None:
    rest = _venue(place)
    async with rest.connections:
        while True:
            with suppress(VenueError):
                await rest.instruments()
                tell()
            await asyncio.sleep(PACE_S)


class _Reader:
    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def parameters(self) -> Mapping[str, str]:
        return {}

    async def opened(self) -> None:
        """Nothing to read."""

    async def take(self, lines: Sequence[bytes]) -> None:
        self._tell()


async def venue_stream(place: Place, tell: Tell) -> None:
    rest = _venue(place)
    async with rest.connections:
        await LineStream("transactions", "/transactions/stream", rest, _Reader(tell)).run()


async def database(place: Place, tell: Tell) -> None:
    url = f"postgresql+asyncpg://{place.at('database')}/postgres"
    history = HistoryParts(HistorySettings(url=url, batch_rows=1))
    engine = history.database.engine(DatabaseLogin("postgres", Secret(PASSWORD)))
    await history.database.prove(engine)
    await history.database.adopt(engine)
    async with asyncio.TaskGroup() as tasks, history.writing() as writer:
        tasks.create_task(_read_history(history))
        position = 0
        while True:
            history.journal.add(make_transaction(history.journal.last() + 1))
            await asyncio.sleep(PACE_S)
            if writer.position > position:
                position = writer.position
                tell()


async def _read_history(history: HistoryParts) -> None:
    """Queries, so that the pool has several connections."""
    while True:
        found = await asyncio.gather(*(history.archive.order("none") for _ in range(3)), return_exceptions=True)
        for error in found:
            if error is not None and not isinstance(error, DatabaseUnavailableError):
                raise AssertionError from error  # type: ignore[misc] # there is no such order
        await asyncio.sleep(3 * PACE_S)


async def api_server(place: Place, tell: Tell) -> None:
    where = Cluster(server=f"http://{place.at('api_server')}")
    config = KubeConfig.from_one(cluster=where, user=User(token="t"), namespace="trading")
    lease = ClusterLease(partial(AsyncClient, config=config), "broker-101", lease_s=10.0, me="client")
    while True:
        if (left_s := await lease.acquire()) > 0:
            await asyncio.sleep(min(left_s, lease.poll_every_s))
            continue
        renewed = True
        while renewed:
            before = lease._renewed_s
            renewed = await lease.renew()
            if renewed and lease._renewed_s > before:
                tell()
            await asyncio.sleep(lease.renew_every_s)


class _OverTcp(TelemetryStream):
    """The producer's stream; its own is a Unix socket."""

    credentials: grpc.ChannelCredentials
    target: str

    def _channel(self) -> grpc.aio.Channel:
        options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", "localhost"))
        return grpc.aio.secure_channel(f"dns:///{self.target}", self.credentials, options=options)


async def producer(place: Place, tell: Tell) -> None:
    made = emitter(place.directory, segment_bytes=1 << 20, spool_bytes=8 << 20)
    stream = _OverTcp(made, settings(place.directory), list)
    parts = [(place.directory / name).read_bytes() for name in ("server.pem", "client.key", "client.pem")]
    stream.credentials, stream.target = grpc.ssl_channel_credentials(*parts), place.at("producer")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.run(asyncio.Event()))
        while True:
            made.emit(sale(note=LARGE))
            first = made.spool.queue.first
            await asyncio.sleep(PACE_S)
            if made.spool.queue.first > first:
                tell()


def _request(target: str) -> ForwardedRequest:
    return ForwardedRequest(method="GET", target=target, headers={"x-api-key": LARGE}, body=b"")


class _NoCertificates:
    def certificate(self) -> None:
        return None


async def _at_a_pace(request: Callable[[], Awaitable[Any]], failure: type[Exception], tell: Tell) -> None:
    """Requests of many callers: none waits for the answer to another."""

    async def one() -> None:
        with suppress(failure):
            await request()
            tell()

    async with asyncio.TaskGroup() as tasks:
        while True:
            tasks.create_task(one())
            await asyncio.sleep(PACE_S)


async def peer(place: Place, tell: Tell) -> None:
    async with Peer(ApiSettings(tls="off"), _NoCertificates()) as owner:
        await _at_a_pace(lambda: owner.forward(place.at("owner"), _request("/v1/positions")), Problem, tell)


async def peer_events(place: Place, tell: Tell) -> None:
    async def send(message: Message) -> None:
        if message.get("body"):
            tell()

    async with Peer(ApiSettings(tls="off"), _NoCertificates()) as owner:
        while True:
            with suppress(Problem):
                answer = await owner.follow(place.at("owner"), _request("/v1/events"), asyncio.Event())
                await answer.stream_response(send)  # type: ignore[attr-defined] # an OwnerEvents: the owner answers 200
            await asyncio.sleep(1.0)  # as a client that was told `retry: 1000`


async def order_client(place: Place, tell: Tell) -> None:
    async with BrokerClient(f"http://{place.at('owner')}", api_key=LARGE) as broker:
        await _at_a_pace(broker.list_positions, OrderApiError, tell)


async def order_client_events(place: Place, tell: Tell) -> None:
    async with BrokerClient(f"http://{place.at('owner')}", api_key=LARGE) as broker:
        parser_fed = aiohttp.StreamReader.readline

        async def readline(reader: aiohttp.StreamReader) -> bytes:
            line = await parser_fed(reader)
            if line.startswith(b":"):
                tell()
            return line

        aiohttp.StreamReader.readline = readline  # type: ignore[method-assign,assignment] # comments make no event
        async with broker.stream_events() as events:
            async for _ in events:
                pass


CONNECTIONS: Mapping[str, Callable[[Place, Tell], Awaitable[None]]] = {
    work.__name__: work
    for work in (
        otlp,
        own_metrics,
        vault,
        venue_requests,
        venue_stream,
        database,
        api_server,
        producer,
        peer,
        peer_events,
        order_client,
        order_client_events,
    )
}


def _tell(name: str) -> None:
    os.write(1, f"{name} {monotonic()}\n".encode())


async def _main(place: Place) -> None:
    async with asyncio.TaskGroup() as tasks:
        for name, work in CONNECTIONS.items():
            tasks.create_task(work(place, partial(_tell, name)))  # type: ignore[arg-type] # all are coroutines


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    told = json.loads(Path(sys.argv[1]).read_text())
    asyncio.run(_main(Place(told["ports"], told["token"], told["account"], Path(sys.argv[1]).parent)))
