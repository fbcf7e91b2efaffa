"""Messages that mean harm or mean nothing: no crash, bounded memory, refused by name, others unaffected."""

from __future__ import annotations

import os
import random

from telemetry.v1 import telemetry_pb2 as pb

from sidecar.telemetry.aggregate import Limit
from sidecar.telemetry.intake import StreamFaultError
from tests.unit.sidecar.telemetry.batches import batch, hello, order_define, orders, sample_define
from tests.unit.sidecar.telemetry.test_crash import Core, mixed

MESSAGES = int(os.environ.get("HOSTILE_MESSAGES", "10000"))


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """`raw` with a few bytes changed, removed, doubled or put in."""
    data = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data)) if data else 0
        match chance.randrange(4):
            case 0 if data:
                data[place] = chance.randrange(256)
            case 1 if data:
                del data[place : place + chance.randint(1, 8)]
            case 2:
                data[place:place] = data[place : place + chance.randint(1, 16)]
            case _:
                data[place:place] = chance.randbytes(chance.randint(1, 8))
    return bytes(data)


def test_mutated_batches_are_refused_by_name_and_the_ledger_balances() -> None:
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    core = Core()
    names: set[str] = set()
    core.send("b", "good", 5, 1)
    for number in range(MESSAGES):
        stream = core.stream("a", f"s{number // 500}")
        first = stream.state.durable_through + 1
        raw = mutated(mixed(first, chance.randint(1, 12)).SerializeToString(), chance)
        try:
            rejections = core.intake.batch(stream, raw, core.tick())
        except StreamFaultError as error:
            names.add(error.fault.reason)
            continue
        names.update(item.reason for item in rejections)
    assert all(name.isidentifier() for name in names)
    assert {"malformed_message", "sequence_gap", "column_length"} <= names
    core.send("b", "good", 5, 6)
    ledger = core.counts.ledger(core.backlog.queued)
    assert ledger.balanced
    assert ledger.producers["b"].counted == 10
    core.aggregate.snapshot(core.tick())
    core.checkpoint()
    assert core.killed().state() == core.state()


def test_mutated_definitions_are_taken_or_refused_by_name() -> None:
    seed = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    core = Core()
    for number in range(MESSAGES // 10):
        if number % 50 == 0:
            stream = core.intake.open_stream(hello("a", f"s{number}"), core.tick())
        raw = mutated(chance.choice([order_define(), sample_define()]).SerializeToString(), chance)
        try:
            define = pb.Define.FromString(raw)
        except Exception:  # noqa: BLE001, S112 - ingest refuses what does not parse
            continue
        for refusal in core.intake.define(stream, define):
            assert refusal.reason.isidentifier()
            assert len(refusal.message) <= 1024
    assert core.killed().state() == core.state()


def test_a_million_labels_take_the_room_of_the_limit() -> None:
    core = Core()
    core.aggregate._limit = Limit(instrument=100, producer=150)
    stream = core.stream("a", "s")
    for number in range(20):
        rows = [(f"status{number}-{row}", "buy", 0.5, "x") for row in range(1000)]
        core.intake.batch(stream, batch(number * 1000 + 1, orders(rows)).SerializeToString(), core.tick())
    assert core.aggregate.series_count()["a"] <= 152
    # One of the hundred is the status that the definition names.
    assert core.aggregate.overflow["a", "broker.orders"] == 20_000 - 99
