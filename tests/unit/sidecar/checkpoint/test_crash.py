"""Killed at any moment: what a checkpoint and the journal bring back is what there was."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.journal.segment import segment_name
from tests.unit.sidecar.batches import batch, filled
from tests.unit.sidecar.telemetry_core import TelemetryCore

HOUR_NS = 3_600_000_000_000
EXAMPLES = int(os.environ.get("CRASH_EXAMPLES", "150"))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(["a", "b"]), st.sampled_from(["s1", "s2"]), st.integers(1, 9)),
        st.tuples(st.just("overlap"), st.just("a"), st.sampled_from(["s1", "s2"]), st.integers(1, 9)),
        st.tuples(st.sampled_from(["checkpoint", "expire", "end", "reconnect", "damage", "later", "earlier"])),
    ),
    max_size=25,
)


def play(core: TelemetryCore, steps: list[tuple[Any, ...]]) -> TelemetryCore:
    for step in steps:
        one_step(core, step)
    return core


def one_step(core: TelemetryCore, step: tuple[Any, ...]) -> None:
    match step:
        case ("send", producer, session, count):
            core.send(producer, session, count, core.stream(producer, session).state.durable_through + 1)
        case ("overlap", producer, session, count):
            durable = core.stream(producer, session).state.durable_through
            core.send(producer, session, count, max(1, durable - 1))
        case ("checkpoint",):
            core.checkpoint()
        case ("expire",):
            core.intake.expire(core.tick(), 3_000_000)
        case ("end",) if core.streams:
            key = next(iter(core.streams))
            core.intake.end_session(core.streams.pop(key))
        case ("later",):
            core.now_ns += HOUR_NS
        case ("earlier",):
            core.now_ns -= HOUR_NS
        case ("reconnect",):
            core.streams.clear()
        case ("damage",) if core.streams:
            stream = next(iter(core.streams.values()))
            bad = batch(stream.state.durable_through + 1, filled(2))
            del bad.groups[0].columns[2].doubles[:]
            (rejection,) = core.intake.batch(stream, bad.SerializeToString(), core.tick())
            assert (rejection.reason, rejection.count) == ("column_length", 2)


@settings(max_examples=EXAMPLES, deadline=None)
@given(STEPS)
def test_a_replay_gives_the_state_there_was(steps: list[tuple[Any, ...]]) -> None:
    core = play(TelemetryCore(), steps)
    again = core.killed()
    assert without_duplicates(again.state()) == without_duplicates(core.state())
    assert again.log_sequences() == core.log_sequences()
    snapshot = again.aggregate.snapshot(again.now_ns)
    points = [point for each in snapshot.producers for family in each.families for point in family.points]
    assert all(point.start_ns <= snapshot.time_ns for point in points)


def without_duplicates(state: dict[str, Any]) -> dict[str, Any]:
    """Duplicates are not journaled: after a crash they count from the checkpoint on, on both sides of the sum."""
    producers = state["counts"]["producers"]
    for counts in producers.values():
        counts[0] -= counts[2]
        counts[2] = 0
    state["counts"]["producers"] = {key: counts for key, counts in producers.items() if any(counts[:2]) or counts[3]}
    return state


@settings(max_examples=EXAMPLES, deadline=None)
@given(STEPS, st.integers(0, 25), st.integers(0, 25))
def test_every_sequence_is_counted_and_logged_once_whatever_kills(
    steps: list[tuple[Any, ...]], first_kill: int, second_kill: int
) -> None:
    core = TelemetryCore()
    for number, step in enumerate(steps):
        if number in {first_kill, second_kill}:
            core = core.killed()
        one_step(core, step)
    sequences = core.log_sequences()
    assert len(sequences) == len(set(sequences))
    refused = sum(core.counts.ledger(0).events.rejected.values())
    events = sum(state.durable_through for state in core.telemetry_state.sessions.values())
    assert core.counts.ledger(0).events.counted == events - refused


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_journal_cut_at_every_byte_of_its_last_record_gives_what_was_before(checkpointed: bool) -> None:
    core = TelemetryCore()
    core.send("a", "s1", 4, 1)
    if checkpointed:
        core.checkpoint()
    before, wanted = core.journal.end, without_duplicates(core.state())
    core.send("a", "s1", 3, 5)
    assert core.journal.end.segment == before.segment
    name = segment_name(before.segment)
    whole = bytes(core.volume.files[name])
    wanted.pop("snapshot")
    for cut in range(before.offset, len(whole)):
        core.volume.files[name] = bytearray(whole[:cut])
        again = core.killed()
        assert len(again.volume.files[name]) == before.offset
        found = without_duplicates(again.state())
        found.pop("snapshot")
        assert found == wanted
        again.send("a", "s1", 3, 5)
        assert again.stream("a", "s1").state.durable_through == 7
