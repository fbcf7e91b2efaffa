"""The example in Python, run as a process of its own beside a real sidecar."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.integration.sidecar.sidecar_process import running, settings, short_directory
from tests.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]


async def bake(*arguments: str, script: str = "bakery.py") -> str:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "examples" / "python" / script),
        *arguments,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        stdout=asyncio.subprocess.PIPE,
    )
    return (await asyncio.wait_for(child.communicate(), 120))[0].decode()


async def test_its_events_are_counted_and_logged(tmp_path: Path) -> None:
    async with OtlpReceiver() as receiver, short_directory() as place:
        table = settings(place) | {"otlp": {"endpoint": receiver.endpoint}}
        async with running(table, place) as process:
            said = await bake(str(place / "t" / "s"), str(tmp_path / "spool"))
            assert said == "emitted 100, acknowledged 100, held 0\n"
            page = (await process.get("metrics", "/metrics"))[1]
            await receiver.wait_records(100, deadline_s=30)
    assert 'bakery_loaves_total{kind="rye",producer="bakery"} 50' in page.splitlines()
    assert {record["event_name"] for record in receiver.records} == {"bakery.loaf.baked"}


async def test_without_a_sidecar_its_events_wait_for_the_next_start(tmp_path: Path) -> None:
    async with short_directory() as place:
        assert await bake(str(place / "t" / "s"), str(tmp_path / "spool")) == "emitted 100, acknowledged 0, held 100\n"
        async with running(settings(place), place) as process:
            await bake(str(place / "t" / "s"), str(tmp_path / "spool"))
            page = (await process.get("metrics", "/metrics"))[1]
    assert 'bakery_loaves_total{kind="rye",producer="bakery"} 100' in page.splitlines()


async def test_calls_of_opentelemetry_and_logging_are_carried_alike(tmp_path: Path) -> None:
    async with OtlpReceiver() as receiver, short_directory() as place:
        table = settings(place) | {"otlp": {"endpoint": receiver.endpoint}}
        async with running(table, place) as process:
            assert await bake(str(place / "t" / "s"), str(tmp_path / "spool"), script="bridged.py") == ""
            page = (await process.get("metrics", "/metrics"))[1]
            await receiver.wait_records(1, deadline_s=30)
    assert 'bakery_loaves_total{kind="rye",producer="bakery"} 100.0' in page.splitlines()
    (record,) = receiver.records
    assert (record["event_name"], record["severity"]) == ("log.warn", 13)
    assert record["attributes"]["message"] == "out of rye"
    assert record["attributes"]["attributes"] == '{"left_kg": 0}'


ALIVE = """
from opentelemetry.metrics import Observation, get_meter
meter = get_meter("bakery")
meter.create_observable_gauge("bakery.heat", [lambda _: [Observation(230, {"oven": "left"})]], "Cel")
meter.create_observable_counter("bakery.power", [lambda _: [Observation(40), Observation(2, {"oven": "left"})]], "J")
meter.create_up_down_counter("bakery.queue").add(3)
meter.create_histogram("bakery.duration", "s").record(7, {"kind": "rye"})
installed = otel.install("bakery", socket=socket, spool_directory=spool, observe_s=0.05)
meter.create_histogram("bakery.duration", "s").record(7, {"kind": "rye"})
meter.create_up_down_counter("bakery.queue").add(3)
while installed.ledger().acknowledged < 6: time.sleep(0.01)
print("measured", flush=True)
sys.stdin.read()
"""
KILLED = """
from opentelemetry.metrics import get_meter
otel.install("bakery", socket=socket, spool_directory=spool)
loaves = get_meter("bakery").create_counter("bakery.loaves")
for number in range(1000):
    loaves.add(1, {"kind": "rye"} if number % 2 else {"kind": "rye", "oven": "left"})
    logging.warning("loaf %d", number)
os.kill(os.getpid(), signal.SIGKILL)
"""
SUCCESSOR = """
otel.install("bakery", socket=socket, spool_directory=spool)
"""
HEAD = """
import logging, os, signal, sys, time
from pathlib import Path
from producer import otel
socket, spool = map(Path, sys.argv[1:])
"""


async def bridged(script: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HEAD + script,
        *arguments,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_every_kind_of_instrument_of_opentelemetry_is_carried(tmp_path: Path) -> None:
    async with short_directory() as place, running(settings(place), place) as process:
        child = await bridged(ALIVE, str(place / "t" / "s"), str(tmp_path / "spool"))
        assert child.stdout is not None
        assert await asyncio.wait_for(child.stdout.readline(), 120) == b"measured\n"
        lines = (await process.get("metrics", "/metrics"))[1].splitlines()
        await asyncio.wait_for(child.communicate(b""), 120)
    assert 'bakery_heat_celsius{oven="left",producer="bakery"} 230.0' in lines
    assert 'bakery_power_joules_total{producer="bakery"} 40.0' in lines
    assert 'bakery_power_joules_total{oven="left",producer="bakery"} 2.0' in lines
    assert 'bakery_queue{producer="bakery"} 3.0' in lines
    assert 'bakery_duration_seconds_bucket{kind="rye",producer="bakery",le="10.0"} 1' in lines
    assert 'bakery_duration_seconds_bucket{kind="rye",producer="bakery",le="5.0"} 0' in lines
    assert child.returncode == 0


async def test_what_a_killed_program_measured_counts_once_in_its_successor(tmp_path: Path) -> None:
    spool = str(tmp_path / "spool")
    async with OtlpReceiver() as receiver, short_directory() as place:
        table = settings(place) | {"otlp": {"endpoint": receiver.endpoint}}
        async with running(table, place) as process:
            for script, code in ((KILLED, -9), (SUCCESSOR, 0)):
                child = await bridged(script, str(place / "t" / "s"), spool)
                await asyncio.wait_for(child.communicate(), 120)
                assert child.returncode == code
            lines = (await process.get("metrics", "/metrics"))[1].splitlines()
            await receiver.wait_records(1000, deadline_s=30)
    assert 'bakery_loaves_total{kind="rye",producer="bakery"} 500.0' in lines
    assert 'bakery_loaves_total{kind="rye",oven="left",producer="bakery"} 500.0' in lines
    messages = [record["attributes"]["message"] for record in receiver.records if record["event_name"] == "log.warn"]
    assert sorted(messages) == sorted(f"loaf {number}" for number in range(1000))
