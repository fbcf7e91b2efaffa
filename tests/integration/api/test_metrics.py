"""The page of the broker's own process: a real broker, a real Prometheus, no sidecar."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment.certificates import make_certificates
from tests.deployment.rendering import only, rendered
from tests.integration.api.broker_process import Stand, standing
from tests.integration.monitoring.prometheus import serving
from tests.require import require_binary
from tests.unit.broker.secret_volume import publish, usual_files

pytestmark = pytest.mark.real


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(tmp_path) as made:
        yield made


async def scrape(stand: Stand) -> tuple[int, bytes]:
    async with stand.session.get(f"{stand.url}/metrics") as answer:
        return answer.status, await answer.read()


async def test_promtool_finds_nothing_to_say_of_a_broker_that_waits_for_its_secrets(stand: Stand) -> None:
    promtool = require_binary("promtool")
    await stand.start_broker()
    status, content = await scrape(stand)

    checked = subprocess.run([promtool, "check", "metrics"], input=content, capture_output=True, check=False)
    assert (status, checked.stderr.decode(), checked.returncode) == (200, "", 0)
    assert b"\nbroker_emitter_connected_streams 0.0\n" in content


async def test_it_answers_while_the_broker_drains(stand: Stand) -> None:
    broker = await stand.start_ready()
    await stand.fault(kind="delay", method="POST", path="/orders", count=1, seconds=1.0)
    flying = asyncio.create_task(stand.place_order(client_order_id="slow"))
    async with asyncio.timeout(120):
        while not (await stand.call("GET", "/v1/orders"))[1]["orders"]:
            await asyncio.sleep(0.02)
    broker.child.send_signal(signal.SIGTERM)
    await broker.event("draining")

    assert (await scrape(stand))[0] == 200
    assert (await flying)[1]["status"] == "filled"
    assert await broker.end() == 0


def scrape_of(monitor: dict[str, Any], address: str, authority: Path) -> dict[str, Any]:
    """Scrape configuration that the operator makes of a ServiceMonitor's endpoint, for one address."""
    (endpoint,) = monitor["spec"]["endpoints"]
    (relabelling,) = endpoint["relabelings"]
    return {
        "job_name": f"serviceMonitor/broker/{monitor['metadata']['name']}/0",
        "scheme": endpoint["scheme"],
        "metrics_path": endpoint["path"],
        "scrape_interval": "1s",
        "tls_config": {"server_name": endpoint["tlsConfig"]["serverName"], "ca_file": str(authority)},
        "static_configs": [{"targets": [address]}],
        "relabel_configs": [{"target_label": relabelling["targetLabel"], "replacement": relabelling["replacement"]}],
    }


async def test_prometheus_scrapes_a_broker_as_the_service_monitor_says(stand: Stand, tmp_path: Path) -> None:
    monitor = only(rendered("production"), "ServiceMonitor", "broker-api")
    place = tmp_path / "prometheus"
    place.mkdir()
    make_certificates(place, "broker.broker.svc")
    pair = (place / "server.pem").read_bytes()  # certificate and key
    stand.changed["api"] = {"tls": "required"}
    publish(stand.secrets, 1, {**usual_files(), "tls.crt": pair, "tls.key": pair})
    broker = await stand.start_broker()
    await broker.event("ready")

    job = scrape_of(monitor, stand.url.removeprefix("https://"), place / "ca.pem")
    (place / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    async with serving(place) as prometheus:
        await prometheus.wait('up{job="broker-api"} == 1')
        (held,) = await prometheus.query('broker_emitter_held_events{job="broker-api"}')
        (resident,) = await prometheus.query('process_resident_memory_bytes{job="broker-api"}')
        counted = await prometheus.query('{job="broker-api",__name__=~"broker_(http|orders|api)_.*"}')

    # There is no sidecar: what was emitted at the start waits, and nobody else could say so.
    assert float(held["value"][1]) > 0
    assert float(resident["value"][1]) > 1 << 20
    assert counted == []
    assert await broker.end() == 0
