"""Messages that mean harm or mean nothing: no crash, bounded memory, refused by name, others unaffected."""

from __future__ import annotations

import os
from collections.abc import Callable

from sidecar.ingest.accept import OpenStream
from sidecar.ingest.protocol import StreamRefusedError
from sidecar.metrics.aggregate import SeriesLimits
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import batch, hello, order_define, orders, sample_define
from tests.unit.sidecar.mutations import mutated, seeded
from tests.unit.sidecar.telemetry_core import TelemetryCore, mixed

MESSAGES = int(os.environ.get("HOSTILE_MESSAGES", "10000"))


def far_ahead(message: pb.Batch) -> None:
    message.first_sequence += 7


def count_of_millions(message: pb.Batch) -> None:
    message.count = 5_000_000


def unregistered_type(message: pb.Batch) -> None:
    message.groups[0].event_id = 4_000_000_000


def column_too_long(message: pb.Batch) -> None:
    message.groups[0].columns[0].indexes.extend([0] * 10_000)


def column_missing(message: pb.Batch) -> None:
    del message.groups[0].columns[-1]


def index_beyond(message: pb.Batch) -> None:
    message.groups[0].columns[0].indexes[0] = 1_000_000


def kinds_mixed(message: pb.Batch) -> None:
    message.groups[0].columns[0].doubles.append(0.5)


def times_missing(message: pb.Batch) -> None:
    del message.groups[0].time_offsets_nano[:]


def time_beyond(message: pb.Batch) -> None:
    message.groups[0].base_time_unix_nano = (1 << 64) - 1


def trace_cut(message: pb.Batch) -> None:
    message.groups[0].trace.trace_ids = b"\x01"


HARM: list[tuple[Callable[[pb.Batch], None], str]] = [
    (far_ahead, "sequence_gap"),
    (count_of_millions, "batch_events"),
    (unregistered_type, "unknown_event"),
    (column_too_long, "column_length"),
    (column_missing, "column_count"),
    (index_beyond, "index_range"),
    (kinds_mixed, "column_kind"),
    (times_missing, "time_length"),
    (time_beyond, "time_range"),
    (trace_cut, "trace_length"),
]


def answer(core: TelemetryCore, stream: OpenStream, raw: bytes) -> set[str]:
    """The names by which the sidecar refuses `raw`; empty if it takes it."""
    try:
        return {item.reason for item in core.intake.batch(stream, raw, core.tick())}
    except StreamRefusedError as error:
        return {error.rule}


def test_batches_of_changed_bytes_are_taken_or_refused_by_name_and_the_ledger_balances() -> None:
    chance, core, names = seeded(), TelemetryCore(), set[str]()
    core.send("b", "good", 5, 1)
    for number in range(MESSAGES // 2):
        stream = core.stream("a", f"s{number // 500}")
        message = mixed(stream.state.durable_through + 1, chance.randint(1, 12))
        names |= answer(core, stream, mutated(message.SerializeToString(), chance))
    assert "malformed_message" in names
    assert all(name.isidentifier() for name in names)
    stands_and_serves_others(core)


def test_harmful_batches_are_refused_by_the_name_of_the_harm_and_the_ledger_balances() -> None:
    chance, core = seeded(), TelemetryCore()
    core.send("b", "good", 5, 1)
    for number in range(MESSAGES // 2):
        stream = core.stream("a", f"s{number // 500}")
        message = mixed(stream.state.durable_through + 1, chance.randint(2, 12))
        harm, reason = HARM[number % len(HARM)]
        harm(message)
        assert answer(core, stream, message.SerializeToString()) == {reason}
    stands_and_serves_others(core)


def test_a_column_of_a_million_values_is_refused_by_name() -> None:
    core, message = TelemetryCore(), mixed(1, 5)
    core.send("b", "good", 5, 1)
    message.groups[0].columns[0].indexes.extend([0] * 1_000_000)
    assert answer(core, core.stream("a", "s"), message.SerializeToString()) == {"column_length"}
    stands_and_serves_others(core)


def test_text_that_is_not_utf_8_is_refused_by_name() -> None:
    core = TelemetryCore()
    core.send("b", "good", 5, 1)
    raw = mixed(1, 5).SerializeToString().replace(b"status", b"stat\xff\xfe")
    assert answer(core, core.stream("a", "s"), raw) == {"malformed_message"}
    stands_and_serves_others(core)


def stands_and_serves_others(core: TelemetryCore) -> None:
    """Assert that the state is whole, survives a kill, and that another producer is not disturbed."""
    core.send("b", "good", 5, 6)
    ledger = core.counts.ledger(core.log_queue.queued)
    assert ledger.balanced
    assert ledger.producers["b"].counted == 10
    core.aggregate.snapshot(core.tick())
    core.checkpoint()
    assert core.killed().state() == core.state()


def test_mutated_definitions_are_taken_or_refused_by_name() -> None:
    chance, core = seeded(), TelemetryCore()
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
    core = TelemetryCore()
    core.aggregate._limit = SeriesLimits(instrument=100, producer=150)
    stream = core.stream("a", "s")
    for number in range(20):
        rows = [(f"status{number}-{row}", "buy", 0.5, "x") for row in range(1000)]
        core.intake.batch(stream, batch(number * 1000 + 1, orders(rows)).SerializeToString(), core.tick())
    assert core.aggregate.series_count()["a"] <= 152
    # One of the hundred is the status that the definition names.
    assert core.aggregate.overflow["a", "broker.orders"] == 20_000 - 99
