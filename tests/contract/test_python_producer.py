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
    return (await asyncio.wait_for(child.communicate(), 60))[0].decode()


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
        assert (
            await bake(str(place / "t" / "s"), str(tmp_path / "spool")) == "emitted 100, acknowledged 0, held 100\n"
        )
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
