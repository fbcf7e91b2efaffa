from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

ROOT = Path(__file__).resolve().parents[3]
POLICIES = ["broker-audit", "broker-logs"]
RULES = ["broker-auditfailures", "broker-logerrorshigh", "broker-logfatal", "broker-secretinlogs"]


@dataclass
class Fake:
    """Takes what Elasticsearch and Kibana take, and keeps the order; `refuse` is a path that is refused."""

    requests: list[str] = field(default_factory=list)
    rules: set[str] = field(default_factory=set)
    streams: tuple[str, ...] = ("logs-broker.otel-eu", "logs-broker.audit.otel-eu")
    refuse: str = ""
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(f"{request.method} {request.path}")
        if self.refuse and self.refuse in request.path:
            return web.json_response({"error": "no"}, status=400)
        if request.path == "/api/saved_objects/_import":
            assert request.headers["kbn-xsrf"]
            parts = await request.post()
            assert parts["file"].file.read().count(b"\n") == 12  # type: ignore[union-attr] # a file field
            return web.json_response({"success": True})
        if request.path.startswith("/api/alerting/rule/"):
            return await self._rule(request)
        if request.path.startswith("/_resolve/index/"):
            return web.json_response({"data_streams": [{"name": name} for name in self.streams]})
        await request.json() if request.method == "PUT" else None
        return web.json_response({"acknowledged": True})

    async def _rule(self, request: web.Request) -> web.Response:
        known = request.path in self.rules
        if request.method == "GET":
            return web.json_response({}, status=200 if known else 404)
        body = await request.json()
        assert ("rule_type_id" in body) == (request.method == "POST")
        if known == (request.method == "POST"):
            return web.json_response({}, status=409 if known else 404)
        self.rules.add(request.path)
        return web.json_response({})


@asynccontextmanager
async def running(fake: Fake) -> AsyncIterator[Fake]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", fake.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = "http://{}:{}".format(*runner.addresses[0])
    try:
        yield fake
    finally:
        await runner.cleanup()


async def provision(url: str, *arguments: str, place: Path = ROOT, **environ: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tools.log_provisioning.provision", *arguments),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "ELASTICSEARCH_URL": url, "KIBANA_URL": url, **environ},
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_policies_come_before_components_before_templates_before_kibana() -> None:
    async with running(Fake()) as fake:
        status, said = await provision(fake.url)
    assert status == 0, said
    writes = [item for item in fake.requests if not item.startswith("GET")]
    assert writes == [
        *(f"PUT /_ilm/policy/{name}" for name in POLICIES),
        "PUT /_component_template/broker-audit@lifecycle",
        "PUT /_component_template/broker-logs@lifecycle",
        "PUT /_component_template/broker-logs@attributes",
        "PUT /_component_template/broker-logs@mappings",
        "PUT /_component_template/broker-logs@settings",
        "PUT /_index_template/broker-audit",
        "PUT /_index_template/broker-logs",
        "POST /api/saved_objects/_import",
        *(f"POST /api/alerting/rule/{name}" for name in RULES),
    ]


async def test_a_second_time_changes_what_is_there() -> None:
    async with running(Fake()) as fake:
        first = await provision(fake.url)
        second = await provision(fake.url, "--roll-over")
    assert (first[0], second[0]) == (0, 0), second[1]
    assert fake.requests.count("PUT /api/alerting/rule/broker-logfatal") == 1


async def test_each_stream_is_rolled_over_by_its_name() -> None:
    async with running(Fake()) as fake:
        status, said = await provision(fake.url, "--roll-over")
    assert (status, [line for line in said.splitlines() if line.startswith("roll over")]) == (
        0,
        ["roll over logs-broker.audit.otel-eu", "roll over logs-broker.otel-eu"],
    )
    assert [item for item in fake.requests if "_rollover" in item] == [
        "POST /logs-broker.audit.otel-eu/_rollover",
        "POST /logs-broker.otel-eu/_rollover",
    ]


async def test_no_stream_is_said_to_be_rolled_over_where_there_is_none() -> None:
    async with running(Fake(streams=())) as fake:
        status, said = await provision(fake.url, "--roll-over")
    assert (status, "roll over" in said) == (0, False)


async def test_a_refusal_ends_it_before_what_builds_on_it() -> None:
    async with running(Fake(refuse="_component_template")) as fake:
        status, said = await provision(fake.url)
    assert status == 1
    assert said.splitlines()[-1].startswith("refused: component broker-audit@lifecycle: 400")
    assert not any("_index_template" in item or "/api/" in item for item in fake.requests)


async def test_a_server_that_is_away_is_waited_for_and_then_said() -> None:
    status, said = await provision("http://127.0.0.1:1", WAIT_S="0.1")
    assert (status, said) == (69, "http://127.0.0.1:1: no answer for 0 s\n")
