# ruff: noqa: INP001 - a script, in no package
"""Emits one event a loaf: `python examples/python/bakery.py SOCKET SPOOL_DIRECTORY`."""

import sys
from pathlib import Path
from typing import NamedTuple

from producer import Catalogue, Counter, Label, Log, Producer, ProducerSettings
from telemetry_contract.v1 import telemetry_pb2 as pb

CATALOGUE = Catalogue()


@CATALOGUE.event("bakery.loaf.baked", log=Log(pb.SEVERITY_INFO, "Loaf baked"))
@Counter("bakery.loaves", "{loaf}", "Loaves baked.")
class LoafBaked(NamedTuple):
    """A loaf is done."""

    kind: Label[str]
    duration_s: float


socket, spool = map(Path, sys.argv[1:])
settings = ProducerSettings(socket=socket, spool_directory=spool, producer_id="bakery")
with Producer(settings, CATALOGUE, resource={"service.name": "bakery"}) as producer:
    for number in range(100):
        producer.emit(LoafBaked("rye" if number % 2 else "spelt", number / 1000))
ledger = producer.ledger()
sys.stdout.write(f"emitted {ledger.emitted}, acknowledged {ledger.acknowledged}, held {ledger.held}\n")
