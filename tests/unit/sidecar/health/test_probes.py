from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.health.conditions import PROBES, HealthFacts, HealthSettings, ProducerFacts, SecretsFacts
from sidecar.health.health import HealthMonitor
from sidecar.health.probes import GrpcHealth, probe_application, time_text

Client = TestClient[web.Request, web.Application]
NOW_NS = 1_700_000_000_123_000_000
WELL = HealthFacts(
    now_ns=NOW_NS,
    socket_open=True,
    secrets=SecretsFacts(generation=1),
    producer=ProducerFacts(producer_id="broker", connected=True, heartbeat_age_s=0.1),
)


@dataclass
class SidecarState:
    known: HealthFacts = WELL
    monotonic_s: float = 100.0

    def facts(self) -> HealthFacts:
        return self.known


@pytest.fixture
def state() -> SidecarState:
    return SidecarState()


@pytest.fixture
def health(state: SidecarState) -> HealthMonitor:
    return HealthMonitor(HealthSettings(), state, monotonic=lambda: state.monotonic_s)


@pytest.fixture
async def client(health: HealthMonitor) -> AsyncIterator[Client]:
    async with TestClient(TestServer(probe_application(health))) as found:
        yield found


async def test_every_probe_and_alias_passes_when_all_is_well(health: HealthMonitor, client: Client) -> None:
    health.refresh()
    for path in ("/livez", "/livez/broker", "/readyz", "/startupz", "/health", "/ready"):
        answer = await client.get(path)
        assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_a_failing_probe_says_why(health: HealthMonitor, client: Client, state: SidecarState) -> None:
    state.known = replace(WELL, draining=True)
    health.refresh()
    answer = await client.get("/readyz")
    assert (answer.status, await answer.text()) == (503, "NotDraining: Draining: the sidecar was told to stop\n")


async def test_verbose_lists_each_condition_with_its_beginning(health: HealthMonitor, client: Client) -> None:
    health.refresh()
    answer = await client.get("/startupz?verbose")
    assert (await answer.text()).splitlines() == [
        "[+]SocketOpen ok: producers can connect (since 2023-11-14T22:13:20.123Z)",
        "[+]SecretsPublished ok: generation 1 is published (since 2023-11-14T22:13:20.123Z)",
        "startupz check passed",
    ]


async def test_json_is_given_to_who_accepts_it(health: HealthMonitor, client: Client) -> None:
    health.refresh()
    answer = await client.get("/livez", headers={"Accept": "application/json"})
    assert await answer.json() == {
        "probe": "livez",
        "ok": True,
        "conditions": [
            {
                "name": "LoopTurns",
                "ok": True,
                "reason": "Ready",
                "message": "last turn 0 ms late",
                "since": "2023-11-14T22:13:20.123Z",
                "advisory": False,
            }
        ],
    }


async def test_a_stale_verdict_is_a_failure_of_every_probe(
    health: HealthMonitor, client: Client, state: SidecarState
) -> None:
    health.refresh()
    state.monotonic_s += 5.1
    for path in ("/livez", "/livez/broker", "/readyz", "/startupz"):
        answer = await client.get(path)
        assert answer.status == 503
        assert "StaleVerdict: conditions were last evaluated 5.1 s ago" in await answer.text()


async def test_before_the_first_evaluation_every_probe_fails(client: Client) -> None:
    answer = await client.get("/livez")
    assert (answer.status, "NotEvaluated" in await answer.text()) == (503, True)


def test_times_are_told_to_the_millisecond() -> None:
    assert time_text(NOW_NS) == "2023-11-14T22:13:20.123Z"


SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_the_official_client_sees_each_probe_as_a_service(tmp_path: Path) -> None:
    ours, stop = GrpcHealth(), asyncio.Event()
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(ours.servicer, server)
    server.add_insecure_port(f"unix:{tmp_path}/s")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel, asyncio.TaskGroup() as tasks:
        tasks.create_task(ours.run(stop))
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="readyz"))
        seen = [(await watch.read()).status]
        if seen[0] == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            seen = [(await watch.read()).status]
        ours.tell({"livez": True, "livez/broker": True, "readyz": True, "startupz": True})
        seen.append((await watch.read()).status)
        overall = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        listed = await health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest())
        stop.set()
        seen.append((await watch.read()).status)
        watch.cancel()
    await server.stop(0)
    assert seen == [NOT_SERVING, SERVING, NOT_SERVING]
    assert overall.status == SERVING
    assert {name: item.status for name, item in listed.statuses.items()} == dict.fromkeys(("", *PROBES), SERVING)
