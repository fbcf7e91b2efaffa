from __future__ import annotations

from pathlib import Path

from tests.unit.producer.samples import LONG, SMALL, Chatter, emitter, is_balanced


def test_acknowledged_segments_are_unlinked(tmp_path: Path) -> None:
    made = emitter(tmp_path, **SMALL)
    for _ in range(200):
        made.emit(Chatter(LONG))
    made.spool.queue.acknowledge(126)
    assert [path.name[:20] for path in sorted(made.spool.directory.glob("*.spool"))] == [
        "00000000000000000127",
        "00000000000000000190",
    ]
    assert made.spool.queue.first == 127


def test_a_segment_that_was_damaged_is_counted_and_passed_over(tmp_path: Path) -> None:
    made = emitter(tmp_path, **{**SMALL, "spool_bytes": 64 << 20})
    for number in range(20_000):
        made.emit(Chatter(str(number)))
    cold = next(segment for segment in made.spool.queue._segments if segment.map is None)
    assert cold.path is not None
    data = bytearray(cold.path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    cold.path.write_bytes(data)
    last = cold.last
    got, after = 0, 0
    while rows := made.spool.queue.after(after, 1000).rows:
        run = made.spool.queue.after(after, 1000)
        got += len(run.rows)
        after = run.first + len(rows) - 1
    ledger = made.ledger()
    lost = ledger.dropped["", "spool_damaged"]
    assert 0 < lost < last
    assert got == 20_000 - lost
    assert is_balanced(ledger)
    assert ledger.emitted == 20_000
