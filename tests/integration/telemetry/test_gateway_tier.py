"""Two tiers of real collectors at small size: a router, two gateways and several instances."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.export.exporter import OtlpExporter
from sidecar.export.settings import OtlpSettings
from tests.integration.telemetry.servers import ROOT, Collector, Engine, Server, collector, engine, fetch, router_binary
from tests.ports import free_port
from tests.unit.sidecar.fake_journal import SESSION, MemoryJournal, exporter_over, orders
from tests.unit.sidecar.snapshots import counter, snapshot

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.xdist_group("search-engine")]
INSTANCES = [f"instance-{number}" for number in range(8)]
BATCHES = 40
RECORDS = 5


@dataclass
class Tier:
    """A router before two gateways before an engine."""

    router: str
    gateways: list[Collector]
    search: Engine

    def writers(self) -> dict[str, list[int]]:
        """By instance, the gateways on whose page its series stand."""
        pages = [str(fetch(gateway.prometheus)) for gateway in self.gateways]
        found = {name: [at for at, page in enumerate(pages) if f'instance="{name}"' in page] for name in INSTANCES}
        assert any(re.search(r'broker_orders_total\{.*instance="', page) for page in pages), pages
        return found


def router(place: Path, gateways: list[Collector]) -> tuple[Server, str]:
    """The shipped router: its backends named instead of asked of Kubernetes, and no certificates."""
    tree: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "scale" / "router.yaml").read_text())
    balancing = tree["exporters"]["loadbalancing"]
    hosts = [gateway.endpoint.removeprefix("http://") for gateway in gateways]
    balancing["resolver"] = {"static": {"hostnames": hosts}}
    balancing["protocol"]["otlp"]["tls"] = {"insecure": True}
    (place / "router.yaml").write_text(yaml.safe_dump(tree))
    otlp, health, metrics = (free_port() for _ in range(3))
    environ = {
        "OTLP_LISTEN": f"127.0.0.1:{otlp}",
        "HEALTH_LISTEN": f"127.0.0.1:{health}",
        "METRICS_HOST": "127.0.0.1",
        "METRICS_PORT": str(metrics),
    }
    command = [router_binary(), "--config", str(place / "router.yaml")]
    return Server(command, place / "router.log", f"http://127.0.0.1:{health}/", environ), f"http://127.0.0.1:{otlp}"


@asynccontextmanager
async def running(place: Path) -> AsyncIterator[Tier]:
    for name in ("a", "b"):
        (place / name).mkdir()
    with engine(place) as search:
        search.install_templates()
        gateways = [collector(place / name, search.url) for name in ("a", "b")]
        with gateways[0], gateways[1]:
            front, address = router(place, gateways)
            with front:
                yield Tier(address, gateways, search)


def instance(number: int, journal: MemoryJournal, tier: Tier) -> OtlpExporter:
    return exporter_over(
        journal,
        OtlpSettings(
            endpoint=tier.router,
            namespace="tier",
            backoff_base_s=0.02,
            backoff_cap_s=0.2,
            linger_s=0.02,
            drain_s=60.0,
            metrics_interval_s=0.3,
        ),
        resource={"service.name": "sidecar", "service.instance.id": INSTANCES[number]},
        clock=time.time_ns,
        metrics=lambda: snapshot(broker=[counter()]),
    )


async def test_a_series_has_one_writer_and_a_restart_of_a_gateway_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as tier:
        journals = [MemoryJournal() for _ in INSTANCES]
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number, journal in enumerate(journals):
                group.create_task(instance(number, journal, tier).run(stop))
            for step in range(BATCHES):
                for number, journal in enumerate(journals):
                    first = step * RECORDS + 1
                    batch = orders(first, RECORDS, end=first + RECORDS - 1)
                    session = replace(SESSION, session_id=INSTANCES[number])
                    journal.put(replace(batch, session=session))
                await asyncio.sleep(0.02)
                if step == BATCHES // 2:
                    before = await asyncio.to_thread(tier.writers)
                    await asyncio.to_thread(tier.gateways[0].stop)
                if step == BATCHES // 2 + 10:
                    await asyncio.to_thread(tier.gateways[0].start)
            await asyncio.to_thread(tier.search.wait, lambda: all(tier.writers().values()), "every series is back")
            after = await asyncio.to_thread(tier.writers)
            stop.set()
        count = len(INSTANCES) * BATCHES * RECORDS
        await asyncio.to_thread(
            tier.search.wait, lambda: len(tier.search.documents("tier")) >= count, f"{count} documents"
        )
        documents = tier.search.documents("tier")
    assert {len(found) for found in before.values()} == {1}
    assert {at for found in before.values() for at in found} == {0, 1}
    assert after == before
    wanted = {f"broker/{name}/{at}" for name in INSTANCES for at in range(1, BATCHES * RECORDS + 1)}
    assert {item["_id"] for item in documents} == wanted
    assert len(documents) == count
