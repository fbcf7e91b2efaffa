from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sidecar.export.batching import count, halves, pack
from sidecar.telemetry.model import JournalPosition

RECORDS = st.lists(st.binary(min_size=1, max_size=30), max_size=12)


def flat(parts: list[tuple[bytes, list[bytes]]]) -> list[tuple[bytes, bytes]]:
    return [(resource, record) for resource, records in parts for record in records]


@given(st.lists(st.tuples(st.sampled_from([b"r1", b"r2"]), RECORDS), max_size=6), st.integers(1, 9), st.integers(1, 90))
def test_export_batches_hold_everything_in_order_within_the_limits(
    batches: list[tuple[bytes, list[bytes]]], max_records: int, max_bytes: int
) -> None:
    stored = [(JournalPosition(1, at), resource, records) for at, (resource, records) in enumerate(batches, start=1)]
    packed = list(pack(stored, max_records=max_records, max_bytes=max_bytes))
    held = [item for each in packed for item in flat(each.parts)]
    assert held == [(resource, record) for resource, records in batches for record in records]
    assert all(each.count == count(each.parts) <= max_records for each in packed)
    assert all(each.size <= max_bytes or each.count == 1 for each in packed)
    if batches:
        assert packed[-1].end == JournalPosition(1, len(batches))


@given(st.lists(st.tuples(st.sampled_from([b"r1", b"r2"]), RECORDS), min_size=1, max_size=6), st.integers(1, 9))
def test_the_cursor_stands_exactly_behind_the_records_that_are_settled_with_it(
    batches: list[tuple[bytes, list[bytes]]], max_records: int
) -> None:
    stored = [(JournalPosition(1, at), resource, records) for at, (resource, records) in enumerate(batches, start=1)]
    before = 0
    for each in pack(stored, max_records=max_records, max_bytes=10_000):
        before += each.count
        if each.end is not None:
            assert before == sum(len(records) for _, records in batches[: each.end.offset])


def test_small_batches_of_one_resource_share_an_export_batch() -> None:
    stored = [(JournalPosition(1, at), b"r", [b"a"]) for at in range(1, 4)]
    [each] = pack(stored, max_records=10, max_bytes=100)
    assert (each.parts, each.end) == ([(b"r", [b"a", b"a", b"a"])], JournalPosition(1, 3))


def test_a_batch_without_records_only_moves_the_cursor() -> None:
    [each] = pack([(JournalPosition(1, 5), b"r", [])], max_records=10, max_bytes=100)
    assert (each.count, each.end) == (0, JournalPosition(1, 5))


@given(st.lists(st.tuples(st.sampled_from([b"r1", b"r2"]), RECORDS.filter(bool)), min_size=1, max_size=5))
def test_halves_are_the_whole_and_smaller(parts: list[tuple[bytes, list[bytes]]]) -> None:
    first, second = halves(parts)
    assert flat(first) + flat(second) == flat(parts)
    assert count(second) - count(first) in {0, 1}
