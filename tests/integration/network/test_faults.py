"""Each long-lived connection of the product delivers again after each kind of network fault.

One network has all connections, so that a fault hits all of them. A connection has recovered when it delivers several
times in a row at its usual pace: one whose pool still holds dead connections does not. NETWORK_FAULTS is the number
of times of each kind, RECOVERY_S the time that a recovery may take, OUTAGE_S the longest outage.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.simulator.http.server import Simulator
from sidecar.pipeline import TelemetryPipeline
from sidecar.telemetry.settings import TelemetrySettings
from tests.integration.network.faults import FAULTS, NetworkFault
from tests.integration.network.namespaces import ClientProcess, Network, clients, network
from tests.openbao import OpenBao, running_openbao
from tests.otlp_receiver import OtlpReceiver
from tests.postgres import running_postgres
from tests.require import require_network_namespaces
from tests.unit.broker.orders.ownership.api_server import BASE, ApiServer
from tests.unit.sidecar.batches import TIME_NS
from tests.unit.sidecar.ingest.test_server import certificate

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
pytestmark = [pytest.mark.real, pytest.mark.slow]
TIMES = int(os.environ.get("NETWORK_FAULTS", "1"))
RECOVERY_S = float(os.environ.get("RECOVERY_S", "120"))
OUTAGE_S = float(os.environ.get("OUTAGE_S", "4"))
SEED = int(os.environ.get("SEED", "1"))
QUICK = ("never answers, never closes", "moved by DNS", "connections forgotten on the way")
"""Those of one run: the connection looks alive, and never is again."""
KINDS = FAULTS if TIMES > 1 else [fault for fault in FAULTS if fault.name in QUICK]


@dataclass(frozen=True, slots=True)
class Pace:
    """Deliveries in a row that show a recovery, and the longest time between two of them."""

    times: int
    within_s: float


PACES: Mapping[str, Pace] = {
    "otlp": Pace(3, 3.0),
    "own_metrics": Pace(1, 20.0),  # one push each 15 s
    "vault": Pace(3, 5.0),
    "venue_requests": Pace(3, 3.0),
    "venue_stream": Pace(2, 7.0),  # a heartbeat each 5 s
    "database": Pace(3, 3.0),
    "api_server": Pace(2, 5.0),  # a renewal each 2.5 s
    "producer": Pace(3, 3.0),
    "peer": Pace(3, 3.0),
    "peer_events": Pace(1, 12.0),  # a comment each 10 s
    "order_client": Pace(3, 3.0),
    "order_client_events": Pace(1, 12.0),
}


def recovered_s(deliveries: list[float], since_s: float, pace: Pace) -> float | None:
    """Seconds from the network's return to the first delivery of a row; None while there is no row."""
    after = [moment for moment in deliveries if moment >= since_s]
    for place in range(len(after) - pace.times + 1):
        row = after[place : place + pace.times]
        if all(later - earlier <= pace.within_s for earlier, later in pairwise(row)):
            return row[0] - since_s
    return None


async def _owner(request: web.Request) -> web.StreamResponse:
    if not request.path.endswith("/events"):
        return web.json_response({"positions": [], "at": "2026-01-05T10:00:00Z"})
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    await stream.write(b"retry: 1000\n\n: alive\n\n")
    while True:
        await asyncio.sleep(10)
        await stream.write(b": alive\n\n")


@asynccontextmanager
async def _http(*routes: tuple[str, Handler]) -> AsyncIterator[int]:
    application = web.Application()
    for path, handler in routes:
        application.router.add_route("*", path, handler)
    server = TestServer(application, host="127.0.0.1", skip_url_asserts=True)
    await server.start_server(shutdown_timeout=0.1)
    try:
        assert server.port is not None
        yield server.port
    finally:
        await server.close()


@asynccontextmanager
async def _sidecar(place: Path) -> AsyncIterator[int]:
    pairs = {"server": certificate("server"), "client": certificate("client", "broker")}
    for name, (pem, key) in pairs.items():
        (place / f"{name}.pem").write_bytes(pem)
        (place / f"{name}.key").write_bytes(key)
    configured = TelemetrySettings(
        socket=place / "sidecar" / "t.sock",
        durability="none",
        drain_s=0.0,
        tcp_address="127.0.0.1:0",
        tcp_certificate_file=place / "server.pem",
        tcp_key_file=place / "server.key",
        tcp_client_ca_file=place / "client.pem",
    )
    pipeline = TelemetryPipeline(settings=configured, clock=lambda: TIME_NS)
    await pipeline.open()
    stop = asyncio.Event()
    serving = asyncio.create_task(pipeline.serve(stop))
    try:
        await pipeline.listening.wait()
        yield int(pipeline.tcp_address.rpartition(":")[2])
    finally:
        # In order also behind a failure: gRPC's server complains of a loop that is gone, and hides what failed.
        stop.set()
        await serving


def _prepare_vault(bao: OpenBao, place: Path) -> int:
    bao.write_kv("venue", token="one")
    bao.approle(place, policy="reader", rules='path "secret/*" { capabilities = ["read"] }', token_ttl="24h")
    return int(bao.address.rpartition(":")[2])


@dataclass(slots=True)
class Lab:
    """The network with all servers and clients."""

    net: Network
    clients: ClientProcess
    metrics: OtlpReceiver
    pushed: int = 0

    def deliveries(self, name: str) -> list[float]:
        return self.clients.delivered.setdefault(name, [])

    async def watch(self) -> None:
        """Notes the pushes of own metrics when they arrive."""
        while True:
            if len(self.metrics.metric_requests) > self.pushed:
                self.pushed = len(self.metrics.metric_requests)
                self.deliveries("own_metrics").append(monotonic())
            await asyncio.sleep(0.1)

    async def recover(self, since_s: float, bound_s: float) -> dict[str, float | None]:
        """Each connection's recovery; None where there is none within the bound."""
        while True:
            found = {name: recovered_s(self.deliveries(name), since_s, pace) for name, pace in PACES.items()}
            if None not in found.values() or monotonic() > since_s + bound_s:
                return found
            assert self.clients.process.poll() is None, "the clients have ended"
            await asyncio.sleep(0.1)

    async def suffer(self, fault: NetworkFault, outage_s: float) -> dict[str, float | None]:
        """One fault, the network's return, and each connection's recovery."""
        fault.begin(self.net)
        if fault.lasts:
            await asyncio.sleep(outage_s)
            fault.end(self.net)
        found = await self.recover(monotonic(), RECOVERY_S)
        self.net.accept_all()
        return found


@asynccontextmanager
async def _lab(place: Path) -> AsyncIterator[Lab]:
    api = ApiServer()
    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(OtlpReceiver()) for _ in range(2)]
        postgres = stack.enter_context(running_postgres())
        venue = await stack.enter_async_context(Simulator(seed=SEED))
        ports = {
            "otlp": receivers[0].port,
            "own_metrics": receivers[1].port,
            "vault": _prepare_vault(stack.enter_context(running_openbao()), place),
            "venue": int(venue.rest_address.rpartition(":")[2]),
            "venue_stream": int(venue.stream_address.rpartition(":")[2]),
            "database": postgres.port,
            "api_server": await stack.enter_async_context(_http((BASE, api.handle), (BASE + "/{name}", api.handle))),
            "producer": await stack.enter_async_context(_sidecar(place)),
            "owner": await stack.enter_async_context(_http(("/{path:.*}", _owner))),
        }
        told = {"ports": ports, "token": venue.token, "account": venue.account}
        (place / "ports.json").write_text(json.dumps(told))
        net = stack.enter_context(network(place, sorted(set(ports.values()))))
        process = stack.enter_context(clients(net, place, str(place / "ports.json")))
        lab = Lab(net, process, receivers[1])
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(lab.watch())
            began = await lab.recover(monotonic(), 120)
            assert None not in began.values(), (
                f"before any fault: {began}\n{(place / 'clients.log').read_text()[-3000:]}"
            )
            yield lab
            watching.cancel()


def _shown(times: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {'never' if took is None else format(took, '.1f')}" for name, took in times.items())


async def test_every_connection_delivers_again_after_each_kind_of_network_fault(tmp_path: Path) -> None:
    require_network_namespaces()
    chance = random.Random(SEED)
    longest: dict[str, dict[str, float | None]] = defaultdict(dict)
    failed: list[str] = []
    async with _lab(tmp_path) as lab:
        for time in range(TIMES):
            for fault in KINDS:
                outage_s = chance.uniform(1.0, OUTAGE_S) if fault.lasts else 0.0
                found = await lab.suffer(fault, outage_s)
                print(f"{time} {fault.name}, {outage_s:.1f} s: {_shown(found)}", flush=True)
                for name, took in found.items():
                    before = longest[fault.name].get(name, 0.0)
                    longest[fault.name][name] = None if took is None or before is None else max(before, took)
                    if took is None:
                        failed.append(f"{name} after {fault.name} of {outage_s:.1f} s")
    for kind, worst in longest.items():
        print(f"longest of {TIMES} after {kind}, seed {SEED}: {_shown(worst)}")
    assert failed == []
