"""Both images as the pod that the production overlay renders, on containers, driven by its own probes and grace."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.deployment.containers import built, require_tool
from tests.deployment.kubelet import Pod, World, running_pod
from tests.deployment.rendering import Manifest, only, rendered
from tests.deployment.servers_around import (
    API_KEY,
    API_SERVER,
    COLLECTOR,
    POSTGRESQL,
    VAULT,
    VENUE,
    Surroundings,
    relay,
    surroundings,
)
from tests.openbao import RefusedError
from tests.otlp_receiver import OtlpReceiver

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]
NAMES = (VAULT, API_SERVER, POSTGRESQL, COLLECTOR, VENUE)
CHANGED = {
    "broker": {
        "BROKER__VENUE__REST_URL": f"http://{VENUE}:8010",
        "BROKER__VENUE__STREAM_URL": f"http://{VENUE}:8011",
        # As the kubelet says it of the Service `kubernetes`.
        "KUBERNETES_SERVICE_HOST": API_SERVER,
        "KUBERNETES_SERVICE_PORT": "6443",
        # Its server here speaks no TLS, and has one database only.
        "BROKER__HISTORY__URL": f"postgresql+asyncpg://{POSTGRESQL}:5432/postgres",
        "BROKER__HISTORY__CA_FILE": "",
    },
    "sidecar": {},
}


def template() -> Manifest:
    return dict(only(rendered("production"), "Deployment", "broker")["spec"]["template"])


def config_map(process: str) -> dict[str, str]:
    (found,) = [
        item["data"]
        for item in rendered("production")
        if item["kind"] == "ConfigMap" and item["metadata"]["name"].startswith(f"{process}-config")
    ]
    return dict(found)


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    require_tool()
    for name in ("broker", "sidecar"):
        built(name)
    with surroundings(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@asynccontextmanager
async def prepared(around: Surroundings, *, scale: float = 0.1) -> AsyncIterator[tuple[Pod, set[str]]]:
    place, memory = Path(tempfile.mkdtemp(prefix="pod-")), Path(tempfile.mkdtemp(prefix="pod-", dir="/dev/shm"))
    files = {
        "broker-config": config_map("broker"),
        "sidecar-config": config_map("sidecar"),
        "vault-token": {"token": around.cluster.token("broker", audience="vault")},
        "vault-ca": {"ca.crt": around.authority},
        "kube-api": {
            "token": around.cluster.token("broker"),
            "ca.crt": around.cluster.authority,
            "namespace": "broker",
        },
        "podinfo": {"labels": 'broker.role/colour="active"\n', "annotations": ""},
    }
    world = World(files=files, environ=CHANGED, hosts=NAMES, place=place, memory=memory)
    try:
        async with (
            OtlpReceiver() as receiver,
            running_pod(template(), world, scale=scale) as pod,
            relay(pod.gateway, around, receiver.port) as away,
        ):
            yield pod, away
    finally:
        shutil.rmtree(place)
        shutil.rmtree(memory)


async def order(pod: Pod, around: Surroundings) -> dict[str, Any]:
    """One market order through the API, over the TLS that the broker serves."""
    context = ssl.create_default_context(cadata=around.bao.call("GET", "pki/cert/ca")["data"]["certificate"])
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.post(
            f"https://{pod.address}:8080/v1/orders",
            json=body,
            headers={"X-API-Key": API_KEY},
            ssl=context,
            server_hostname="broker.broker.svc",
        ) as answer,
    ):
        return dict(await answer.json())


async def scraped(pod: Pod, around: Surroundings) -> str:
    """The page of the broker's process, asked as the ServiceMonitor says."""
    (endpoint,) = only(rendered("production"), "ServiceMonitor", "broker-api")["spec"]["endpoints"]
    context = ssl.create_default_context(cadata=around.bao.call("GET", "pki/cert/ca")["data"]["certificate"])
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
        session.get(
            f"{endpoint['scheme']}://{pod.address}:8080{endpoint['path']}",
            ssl=context,
            server_hostname=endpoint["tlsConfig"]["serverName"],
        ) as answer,
    ):
        assert answer.status == 200
        return await answer.text()


async def order_soon(pod: Pod, around: Surroundings) -> dict[str, Any]:
    """The same for a pod that may have to wait out the Lease of one that is gone, as a ready standby."""
    async with asyncio.timeout(60):
        while True:
            with suppress(aiohttp.ClientConnectionError):
                found = await order(pod, around)
                if found["status"] == "filled":
                    return found
            await asyncio.sleep(0.2)


async def test_it_starts_in_order_fills_an_order_and_drains_in_order_inside_the_grace(around: Surroundings) -> None:
    async with prepared(around, scale=1.0) as (pod, _):
        await pod.start()
        await pod.until(lambda: pod.is_ready)
        assert (await order(pod, around))["status"] == "filled"
        took_s = await pod.terminate()
        assert pod.codes == {"broker": 0, "sidecar": 0}
        assert took_s < pod.spec["terminationGracePeriodSeconds"]
    steps = [event for event in pod.events if event[1] not in ("ready", "not ready")]
    assert steps == [
        ("sidecar", "running"),
        ("sidecar", "started"),
        ("broker", "running"),
        ("broker", "preStop"),
        ("broker", "SIGTERM"),
        ("broker", "exited 0"),
        ("sidecar", "SIGTERM"),
        ("sidecar", "exited 0"),
    ]


def test_a_token_for_another_audience_is_no_login(around: Surroundings) -> None:
    for audience, status in (("vault", 200), (None, 403)):
        body = {"role": "broker", "jwt": around.cluster.token("broker", audience=audience)}
        try:
            around.bao.call("POST", "auth/kubernetes/login", body)
            found = 200
        except RefusedError as error:
            found = error.status
        assert found == status


async def test_the_account_is_held_by_the_lease_and_given_back_at_the_end(around: Surroundings) -> None:
    async with prepared(around) as (pod, _):
        await pod.start()
        await pod.until(lambda: pod.is_ready)
        await order_soon(pod, around)
        assert str(lease(around)["holderIdentity"]).endswith(f"@{pod.address}:8080")
        await pod.terminate()
    assert lease(around).get("holderIdentity", "") == ""


def lease(around: Surroundings) -> dict[str, Any]:
    """The account's Lease as the API server has it."""
    (found,) = json.loads(around.cluster.kubectl("get", "leases", "-n", "broker", "-o", "json"))["items"]
    return dict(found["spec"])


async def test_without_vault_the_broker_is_not_started_and_nothing_restarts(around: Surroundings) -> None:
    async with prepared(around) as (pod, away):
        away.add(VAULT)
        starting = asyncio.create_task(pod.start())
        await pod.until(lambda: ("sidecar", "running") in pod.events)
        await asyncio.sleep(3)
        assert pod.events == [("sidecar", "running")]
        away.clear()
        await starting
        await pod.until(lambda: pod.is_ready)
        assert pod.restarts == {}


async def test_a_killed_broker_restarts_alone_and_trades_on(around: Surroundings) -> None:
    async with prepared(around) as (pod, _):
        await pod.start()
        await pod.until(lambda: pod.is_ready)
        await order_soon(pod, around)
        await pod.signal("broker", "KILL")
        await pod.until(lambda: pod.restarts == {"broker": 1} and pod.is_ready)
        assert (await order(pod, around))["status"] == "filled", "ready is said by the new broker, of itself"
        assert ("sidecar", "exited 137") not in pod.events


async def test_a_hung_broker_fails_its_liveness_and_restarts_alone(around: Surroundings) -> None:
    async with prepared(around, scale=0.04) as (pod, _):
        await pod.start()
        await pod.until(lambda: pod.is_ready)
        await pod.signal("broker", "STOP")
        await pod.until(lambda: ("broker", "livenessProbe failed") in pod.events, 90)
        await pod.until(lambda: pod.restarts == {"broker": 1} and pod.is_ready)
        await order_soon(pod, around)


async def test_a_killed_sidecar_restarts_and_the_broker_goes_on(around: Surroundings) -> None:
    async with prepared(around) as (pod, _):
        await pod.start()
        await pod.until(lambda: pod.is_ready)
        await order_soon(pod, around)
        before = pod.running["broker"]
        await pod.signal("sidecar", "KILL")
        assert (await order(pod, around))["status"] == "filled"
        await pod.until(lambda: pod.restarts == {"sidecar": 1} and pod.is_ready)
        assert (await order(pod, around))["status"] == "filled"
        assert pod.running["broker"] == before
        assert '"severity": "ERROR"' not in await pod.logs("broker"), (
            "a sidecar that restarts is no fault of the broker"
        )


async def test_the_brokers_own_page_tells_prometheus_that_its_sidecar_is_away(around: Surroundings) -> None:
    async with prepared(around, scale=1.0) as (pod, _):
        await pod.start()
        await pod.until(lambda: pod.is_ready)
        assert "\nbroker_emitter_connected_streams 1.0\n" in await scraped(pod, around)
        await pod.signal("sidecar", "KILL")
        async with asyncio.timeout(60):  # its back-off is ten seconds; the broker samples itself meanwhile
            while "\nbroker_emitter_connected_streams 0.0\n" not in (page := await scraped(pod, around)):
                await asyncio.sleep(0.05)
            while "\nbroker_emitter_held_events 0.0\n" in page:
                page = await scraped(pod, around)
                await asyncio.sleep(0.05)
        await pod.until(lambda: pod.restarts == {"sidecar": 1} and pod.is_ready)
        async with asyncio.timeout(120):
            while "\nbroker_emitter_connected_streams 1.0\n" not in await scraped(pod, around):
                await asyncio.sleep(0.05)
