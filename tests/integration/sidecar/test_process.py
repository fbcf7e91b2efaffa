from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import time
import tomllib
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from jsonschema import Draft202012Validator

from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.integration.sidecar.sidecar_process import (
    Process,
    command,
    producer,
    running,
    settings,
    short_directory,
    write,
)

pytestmark = pytest.mark.real


@pytest.fixture
async def place() -> AsyncIterator[Path]:
    async with short_directory() as found:
        yield found


async def answers(process: Process) -> dict[str, int]:
    paths = ("/livez", "/livez/broker", "/readyz", "/startupz", "/health", "/ready")
    return {path: (await process.get("probes", path))[0] for path in paths}


async def until_ready(process: Process) -> None:
    async with asyncio.timeout(120):
        while (await process.get("probes", "/readyz"))[0] != 200:
            await asyncio.sleep(0.02)


async def test_it_serves_without_a_producer_and_drains_with_zero(place: Path) -> None:
    async with running(settings(place), place) as process:
        assert await answers(process) == {
            "/livez": 200,
            "/livez/broker": 503,
            "/readyz": 503,
            "/startupz": 200,
            "/health": 503,
            "/ready": 503,
        }
        status, page = await process.get("metrics", "/metrics")
        assert (status, "target_info" in page) == (200, True)
        assert await process.end() == 0
    assert process.complaints == ""
    assert not (place / "t" / "s").exists()


async def test_a_producer_makes_it_ready_and_its_failing_condition_unmakes_it(place: Path) -> None:
    async with running(settings(place), place) as process, producer(place) as broker:
        await broker.heartbeat(pb.Condition(name="Venue", ok=True, reason="Ready"))
        await until_ready(process)
        assert set((await answers(process)).values()) == {200}
        await broker.heartbeat(pb.Condition(name="Venue", ok=False, reason="TokenRefused", message="401"))
        async with asyncio.timeout(120):
            while (found := await process.get("probes", "/readyz?verbose"))[0] == 200:
                await asyncio.sleep(0.02)
        assert "[-]ProducerReady failed: TokenRefused: Venue: TokenRefused: 401" in found[1]
        assert (await process.get("probes", "/livez/broker"))[0] == 200


async def test_a_producer_whose_stream_ends_is_unready_at_once_and_counts_as_alive_for_its_budget(place: Path) -> None:
    async with running(settings(place), place) as process:
        async with producer(place) as broker:
            await broker.heartbeat(pb.Condition(name="Venue", ok=True, reason="Ready"))
            await until_ready(process)
        async with asyncio.timeout(120):
            while (found := await process.get("probes", "/readyz?verbose"))[0] == 200:
                await asyncio.sleep(0.02)
        assert "[-]ProducerReady failed: NotConnected: broker is not connected" in found[1]
        assert (await process.get("probes", "/livez/broker"))[0] == 200


async def test_the_probes_are_services_of_grpc_health_on_the_socket(place: Path) -> None:
    async with running(settings(place), place), grpc.aio.insecure_channel(f"unix:{place / 't' / 's'}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        found = {
            name: (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status
            for name in ("", "livez", "livez/broker", "readyz", "startupz")
        }
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert found == {
        "": serving,
        "livez": serving,
        "livez/broker": not_serving,
        "readyz": not_serving,
        "startupz": serving,
    }


async def test_told_to_stop_it_takes_the_producers_events_until_its_goodbye(place: Path) -> None:
    table = settings(place)
    table["telemetry"]["drain_s"] = 20.0
    async with running(table, place) as process, producer(place) as broker:
        await broker.define()
        await broker.emit(10)
        await broker.heartbeat()
        process.child.send_signal(signal.SIGTERM)
        await process.until("sidecar.draining")
        process.child.send_signal(signal.SIGTERM)
        assert (await process.get("probes", "/readyz"))[0] == 503
        assert (await process.get("probes", "/livez"))[0] == 200
        assert await broker.emit(5) == 15
        assert process.child.returncode is None
        await broker.say(goodbye=pb.Goodbye(reason="sigterm"))
        assert await process.end() == 0
    ledger = (await process.until("sidecar.drained"))["ledger"]
    assert (ledger["received"], ledger["counted"], ledger["balanced"]) == (15, 15, True)


async def test_a_dead_collector_does_not_hold_the_end_and_loses_nothing(place: Path) -> None:
    table = settings(place)
    table["otlp"] = {"endpoint": "http://127.0.0.1:1", "drain_s": 1.0}
    table["telemetry"]["drain_s"] = 0.2
    async with running(table, place) as process, producer(place) as broker:
        await broker.define()
        await broker.emit(100)
        began = time.monotonic()
        assert await process.end(signal.SIGINT) == 0
        print("drained in", time.monotonic() - began)
    async with running(table, place) as successor:
        ledger = (await successor.status())["ledger"]
    assert (ledger["counted"], ledger["logs"]["queued"], ledger["balanced"]) == (100, 100, True)


async def test_an_open_page_does_not_hold_the_end(place: Path) -> None:
    async with (
        running(settings(place), place) as process,
        aiohttp.ClientSession() as session,
        session.get(process.url("console", "/api/events")) as page,
    ):
        assert (await page.content.readline()).startswith(b"event: status")
        assert await process.end() == 0


async def test_the_diagnostics_bundle_holds_what_a_helper_asks_for(place: Path) -> None:
    table = settings(place) | {"otlp": {"headers": {"authorization": "hunter2"}}}
    async with (
        running(table, place) as process,
        aiohttp.ClientSession() as session,
        session.get(process.url("console", "/api/diagnostics")) as answer,
    ):
        archive = zipfile.ZipFile(io.BytesIO(await answer.read()))
    files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(files) == {
        "status.json",
        "configuration.json",
        "log.jsonl",
        "metrics.txt",
        "tasks.json",
        "versions.json",
    }
    assert json.loads(files["configuration.json"])["otlp"]["headers"] == {"authorization": "***"}
    assert "hunter2" not in "".join(files.values())
    assert '"event": "listening"' in files["log.jsonl"]


async def test_counters_go_on_over_a_kill(place: Path) -> None:
    async with running(settings(place), place) as process, producer(place) as broker:
        await broker.define()
        await broker.emit(7)
        await process.end(signal.SIGKILL)
    async with running(settings(place), place) as successor:
        _, page = await successor.get("metrics", "/metrics")
    assert 'test_events_total{kind="x",producer="broker"} 7' in page


async def test_a_port_that_is_taken_is_named_with_its_holder(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        table = settings(place) | {"metrics": {"address": f"127.0.0.1:{port}"}}
        async with running(table, place, wait=False) as process:
            assert await asyncio.wait_for(process.child.wait(), 120) == 69
    assert f"port {port} is in use by {os.getpid()} " in process.complaints


async def test_a_second_sidecar_on_the_same_journal_is_refused_and_the_first_goes_on(place: Path) -> None:
    async with running(settings(place), place) as first:
        code, _, complaint = await command("--config", str(place / "sidecar.toml"))
        assert (code, "in use by another process" in complaint) == (69, True)
        assert (await first.get("probes", "/startupz"))[0] == 200


async def test_every_fault_of_a_configuration_is_told_at_once(place: Path) -> None:
    table = settings(place) | {"metrics": {"adress": "x"}, "log": {"level": "LOUD"}}
    table["health"]["interval_s"] = -1
    path = write(place / "bad.toml", table)
    code, out, complaint = await command("--config", str(path), environ={"SIDECAR__CONSOLE__ADDRESS": "nowhere"})
    assert (code, out) == (78, "")
    assert complaint.splitlines() == [
        "health.interval_s: must be at least 0.01, is -1.0",
        "metrics.adress: is not a setting; did you mean 'address'?",
        "console: 'nowhere' is not host:port, for example 127.0.0.1:8090",
        "log.level: must be one of DEBUG, INFO, WARNING, ERROR",
    ]


async def test_the_effective_configuration_is_valid_by_its_own_schema_and_hides_headers(place: Path) -> None:
    path = write(place / "c.toml", settings(place))
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=hunter2",
        "VAULT_ADDR": "https://vault:8200",
        "VAULT_CACERT": "/ca.pem",
        "VAULT_NAMESPACE": "team",
        "VAULT_TOKEN": "hunter3",
    }
    code, text, _ = await command("--config", str(path), "--check-config", environ=environ)
    _, schema, _ = await command("--config-schema")
    found = tomllib.loads(text)
    Draft202012Validator(json.loads(schema)).validate(found)
    assert code == 0
    assert found["otlp"]["endpoint"] == "http://collector:4317"
    assert (found["secrets"]["address"], found["secrets"]["ca_cert"], found["secrets"]["namespace"]) == (
        "https://vault:8200",
        "/ca.pem",
        "team",
    )
    assert found["health"]["secrets_margin_s"] == 30.0
    assert "hunter" not in text


async def test_a_token_in_the_environment_is_ignored_and_told(place: Path) -> None:
    async with running(settings(place), place, environ={"VAULT_TOKEN": "hunter2"}) as process:
        said = await process.until("config.vault_token_ignored")
    assert said["severity"] == "WARNING"
    assert "hunter2" not in json.dumps(process.said)


async def test_commands_ask_a_running_sidecar(place: Path) -> None:
    async with running(settings(place), place) as process, producer(place) as broker:
        await broker.define()
        await broker.heartbeat()
        await until_ready(process)
        asked = ("--console", process.url("console"))
        code, text, _ = await command("status", "--json", *asked)
        assert (code, json.loads(text)["health"]["probes"]["readyz"]["ok"]) == (0, True)
        code, text, _ = await command("status", *asked)
        assert (code, "broker\tconnected" in text, "\x1b" in text) == (0, True, False)
        assert await command("secrets", *asked) == (0, "No secret is configured\n", "")
        code, text, _ = await command("doctor", "--json", *asked)
        assert [item["fault"] for item in json.loads(text)] == ["export_off"]
        assert code == 1


async def test_events_are_followed_as_they_come(place: Path) -> None:
    async with running(settings(place), place) as process, producer(place) as broker:
        await broker.define()
        url = process.url("console")
        following = asyncio.create_task(
            command("events", "--json", "--count", "2", "--filter", "kind x", "--console", url)
        )
        while not following.done():
            await broker.emit(1)
            await asyncio.sleep(0.05)
        code, text, _ = await following
    assert code == 0
    assert [json.loads(line)["attributes"] for line in text.splitlines()] == [{"kind": "x"}, {"kind": "x"}]


async def test_commands_without_a_sidecar_say_so(place: Path) -> None:
    config = ("--config", str(write(place / "c.toml", settings(place))))
    code, out, complaint = await command("status", "--console", "http://127.0.0.1:1")
    assert (code, out, "the sidecar does not answer" in complaint) == (69, "", True)
    code, out, _ = await command("doctor", "--json", "--console", "http://127.0.0.1:1")
    assert (code, json.loads(out)[0]["fault"]) == (69, "sidecar_unreachable")
    code, _, complaint = await command(*config, "rotate", "venue")
    assert (code, "does not answer" in complaint) == (69, True)


async def test_rotation_is_asked_for_on_the_control_socket_of_its_owner(place: Path) -> None:
    async with running(settings(place), place) as process:
        assert (place / "j" / "control.sock").stat().st_mode & 0o777 == 0o600
        code, _, complaint = await command("--config", str(process.config), "rotate", "venue")
        assert (code, complaint) == (1, "no secret is configured\n")
        assert (await command("--config", str(process.config), "rotate"))[0] == 2
        await process.end()
    assert not (place / "j" / "control.sock").exists()


async def test_no_file_of_the_process_is_open_to_others_whatever_the_umask(place: Path) -> None:
    before = os.umask(0o000)
    try:
        async with running(settings(place), place) as process, producer(place) as broker:
            await broker.define()
            await broker.emit(1)
            await process.end()
    finally:
        os.umask(before)
    own = [place / "t", place / "j", *place.glob("j/**/*")]
    assert len(own) > 3
    assert {str(path): oct(path.stat().st_mode) for path in own if path.stat().st_mode & 0o077} == {}
