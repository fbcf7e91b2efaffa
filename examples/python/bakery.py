# ruff: noqa: INP001 - a script, in no package
"""Emits one event a loaf: `python examples/python/bakery.py SOCKET SPOOL_DIRECTORY`."""

import sys
from pathlib import Path
from typing import NamedTuple

from producer.declare import Catalogue, Counter, Event, Log
from producer.producer import Producer
from producer.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb


class LoafBaked(NamedTuple):
    """A loaf is done."""

    kind: str
    duration_s: float


LOAVES = Counter(name="bakery.loaves", description="Loaves baked.", unit="{loaf}", labels=("kind",))
BAKED = Event(
    LoafBaked, "bakery.loaf.baked", labels=("kind",), instruments=(LOAVES,), log=Log(pb.SEVERITY_INFO, "Loaf baked")
)
socket, spool = map(Path, sys.argv[1:])
settings = TelemetrySettings(socket=socket, spool_directory=spool, producer_id="bakery", venue="")
with Producer(settings, Catalogue([BAKED]), resource={"service.name": "bakery"}) as producer:
    for number in range(100):
        producer.emit(LoafBaked("rye" if number % 2 else "spelt", number / 1000))
ledger = producer.ledger()
sys.stdout.write(f"emitted {ledger.emitted}, acknowledged {ledger.acknowledged}, held {ledger.held}\n")
