"""A producer in Go, made from the contract alone, gets the same service as the broker."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.integration.sidecar.sidecar_process import Process, running, settings, short_directory
from tests.otlp_receiver import OtlpReceiver
from tests.require import require_binary

pytestmark = pytest.mark.real
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "go"
BUILD_S = 150.0


async def run(*command: str) -> str:
    child = await asyncio.create_subprocess_exec(
        *command, cwd=EXAMPLE, env=os.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output = (await asyncio.wait_for(child.communicate(), BUILD_S))[0].decode()
    assert child.returncode == 0, output
    return output


async def metrics(process: Process) -> dict[str, float]:
    """Samples of the producer by name and labels."""
    page = (await process.get("metrics", "/metrics"))[1]
    lines = (line.rpartition(" ") for line in page.splitlines() if line.startswith("bakery_"))
    return {name: float(value) for name, _, value in lines}


@pytest.mark.timeout(900)
async def test_its_events_are_counted_and_logged(tmp_path: Path) -> None:
    go = require_binary("go", "/usr/local/go/bin/go", remedy="install Go 1.26 or newer")
    await run(go, "build", "-o", str(tmp_path / "bakery"), ".")
    async with OtlpReceiver() as receiver, short_directory() as place:
        table = settings(place) | {"otlp": {"endpoint": receiver.endpoint}}
        async with running(table, place) as process:
            said = await run(str(tmp_path / "bakery"), "-socket", str(place / "t" / "s"), "-events", "120")
            assert said == "durable through 123\n"  # 120 loaves and a look at the oven for each of three batches
            found = await metrics(process)
            await receiver.wait_records(120, deadline_s=30)
    assert found['bakery_loaves_total{kind="rye",producer="bakery"}'] == 60
    assert found['bakery_loaves_total{kind="spelt",producer="bakery"}'] == 60
    assert found['bakery_loaf_duration_seconds_count{kind="rye",producer="bakery"}'] == 60
    assert found['bakery_loaf_duration_seconds_sum{kind="rye",producer="bakery"}'] == pytest.approx(24.0)
    assert {record["event_name"] for record in receiver.records} == {"bakery.loaf.baked"}
    assert {record["body"] for record in receiver.records} == {"Loaf baked"}
    assert {record["resource"]["service.name"] for record in receiver.records} == {"bakery"}


@pytest.mark.timeout(900)
async def test_a_restart_goes_on_with_its_counters(tmp_path: Path) -> None:
    go = require_binary("go", "/usr/local/go/bin/go", remedy="install Go 1.26 or newer")
    await run(go, "build", "-o", str(tmp_path / "bakery"), ".")
    async with short_directory() as place, running(settings(place), place) as process:
        for _ in range(2):
            await run(str(tmp_path / "bakery"), "-socket", str(place / "t" / "s"), "-events", "10")
        found = await metrics(process)
    assert found['bakery_loaves_total{kind="rye",producer="bakery"}'] == 10


def fields(message: Descriptor) -> set[tuple[int, str]]:
    return {(field.number, field.name) for field in message.fields}


def test_its_stubs_are_those_of_the_contract() -> None:
    tags = re.findall(r'protobuf:"\w+,(\d+),[^"]*name=(\w+)', (EXAMPLE / "telemetry" / "telemetry.pb.go").read_text())
    made = {(int(number), name) for number, name in tags}
    wanted = set().union(*(fields(message) for message in pb.DESCRIPTOR.message_types_by_name.values()))
    assert wanted - made == set(), "run examples/go/generate.sh"
