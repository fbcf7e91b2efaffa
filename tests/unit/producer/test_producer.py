from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import producer
from producer import Producer
from producer.spool.format import read_session
from tests.unit.producer.samples import SHOP, sale, settings

HEAVY = ("grpc", "google.protobuf", "aiohttp", "msgspec", "pydantic", "hvac", "opentelemetry")


def test_events_without_a_sidecar_wait_for_the_next_start(tmp_path: Path) -> None:
    with Producer(settings(tmp_path, drain_s=0.1), SHOP, constant_labels={"branch": "north"}) as made:
        made.emit(sale())
    assert (made.ledger().emitted, made.ledger().held) == (1, 1)
    (session,) = (tmp_path / "spool").iterdir()
    assert read_session(session).defines == SHOP.defines({"branch": "north"})


@pytest.mark.parametrize("name", producer.__all__)
def test_every_public_name_is_found(name: str) -> None:
    assert getattr(producer, name) is not None


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = producer.Nothing


@pytest.mark.parametrize(
    ("statement", "loaded"),
    [
        ("from producer.trace import parse_traceparent", []),
        ("from producer import ProducerSettings", []),
        ("from producer import Producer", ["grpc", "google.protobuf"]),
    ],
)
def test_an_import_loads_no_more_than_it_needs(statement: str, loaded: list[str]) -> None:
    code = f"import sys; {statement}; print([name for name in {HEAVY} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == str(loaded)
