from __future__ import annotations

import enum
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from producer.declare import Event
from producer.emitter import MisuseError
from producer.plain_values import EXACT
from producer.spool.format import segment_path
from producer.trace import current_trace, parse_traceparent
from tests.unit.producer.samples import (
    START_NS,
    VISIT,
    Chatter,
    Sale,
    Visit,
    emitter,
    is_balanced,
    numbers,
    rows_in,
    sale,
)


class Stranger(NamedTuple):
    """Not of the catalogue."""

    text: str


class Shop(enum.StrEnum):
    NORTH = "north"


def test_an_emitted_event_is_in_the_file_before_emit_returns(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.emit(sale(7, note="thanks"))
    assert rows_in(segment_path(made.spool.directory, 1)) == [
        (1, START_NS, None, "north", 2.5, 7, True, "thanks", None)
    ]


def test_the_trace_of_the_moment_goes_along(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    trace = parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    token = current_trace.set(trace)
    made.emit(sale())
    current_trace.reset(token)
    made.emit(sale())
    assert [row[2] for row in made.spool.queue.after(0, 9).rows] == [trace, None]


def test_enumerations_and_decimals_are_told_by_their_values(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    for _ in range(2):  # the second goes a shorter way
        made.emit(sale(shop=Shop.NORTH, note=Decimal("1.50")))
    rows = made.spool.queue.after(0, 9).rows
    assert [(row[3], row[7]) for row in rows] == [("north", "1.50")] * 2
    assert all(type(row[3]) is str for row in rows)


def test_an_event_of_nobody_is_counted_never_raised(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.emit(Stranger("who"))
    made.emit(("no", "event"))
    ledger = made.ledger()
    assert ledger.dropped == {("unknown", "unknown_event"): 2}
    assert (ledger.emitted, ledger.held) == (2, 0)


def test_an_event_of_another_length_is_counted_where_it_cannot_be_encoded(tmp_path: Path) -> None:
    made = emitter(tmp_path, strict=False)
    made.emit(tuple.__new__(Sale, (Shop.NORTH, 1.0)))
    assert made.ledger().dropped == {("shop.sale", "wrong_arity"): 1}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Stranger("who"), "Stranger is not an event of the catalogue"),
        (sale(price="dear"), "shop.sale.price takes float, not str"),
        (sale(shop=None), "shop.sale.shop takes str, not NoneType"),
        (sale(note=4), r"shop.sale.note takes str \| None, not int"),
        (tuple.__new__(Sale, ("north", 1.0)), "shop.sale has 6 fields, not 2"),
    ],
)
def test_misuse_raises_in_development(tmp_path: Path, event: tuple[Any, ...], words: str) -> None:
    made = emitter(tmp_path, strict=True)
    with pytest.raises(MisuseError, match=words):
        made.emit(event)
    assert is_balanced(made.ledger())
    assert made.ledger().held == 0


def test_sound_events_pass_in_development(tmp_path: Path) -> None:
    made = emitter(tmp_path, strict=True)
    made.emit(sale(shop=Shop.NORTH, price=2))
    assert made.ledger().held == 1


def test_a_huge_event_is_shortened_not_lost(tmp_path: Path) -> None:
    made = emitter(tmp_path, segment_bytes=1 << 16, spool_bytes=1 << 20)
    made.emit(sale(note="x" * (1 << 20)))
    (row,) = made.spool.queue.after(0, 9).rows
    assert row[7] == "x" * 400


def test_acknowledged_events_leave_the_ledger_balanced(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    for number in range(10):
        made.emit(sale(number))
    made.emit(Stranger("who"))
    made.spool.queue.acknowledge(4)
    ledger = made.ledger()
    assert (ledger.emitted, ledger.acknowledged, ledger.held) == (11, 4, 6)
    assert is_balanced(ledger)
    message = ledger.to_message()
    assert [(item.event, item.reason, item.count) for item in message.dropped] == [("unknown", "unknown_event", 1)]


def test_threads_emit_without_loss_in_one_order(tmp_path: Path) -> None:
    made = emitter(tmp_path, segment_bytes=1 << 16, spool_bytes=8 << 20)

    def work(start: int) -> None:
        for number in range(start, start + 2000):
            made.emit(Chatter(str(number)))

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 10_000, 20_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [int(number) for number in numbers(made)]
    in_files = [int(row[3]) for path in sorted(made.spool.directory.glob("*.spool")) for row in rows_in(path)]
    assert len(held) == 6000
    assert held == in_files
    for start in (0, 10_000, 20_000):
        assert [number for number in held if start <= number < start + 2000] == list(range(start, start + 2000))


def test_after_close_events_are_refused_and_counted(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.emit(sale())
    made.close()
    made.emit(sale())
    assert made.ledger().dropped == {("shop.sale", "closed"): 1}
    assert is_balanced(made.ledger())


def test_a_closed_emitter_with_nothing_held_leaves_no_files(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.emit(sale())
    made.spool.queue.acknowledge(1)
    made.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_new_member_of_an_enumeration_is_told_like_the_first(tmp_path: Path) -> None:
    class Note(enum.StrEnum):
        THANKS = "thanks"

    made = emitter(tmp_path)
    made.emit(sale(shop=Shop.NORTH))
    made.emit(sale(shop=Shop.NORTH, note=Note.THANKS))
    made.emit(sale(shop="plain", note=Note.THANKS))
    made.emit(sale(shop=Shop.NORTH, note=["no", "text"]))
    rows = made.spool.queue.after(0, 9).rows
    assert [(row[3], row[7]) for row in rows] == [
        ("north", None),
        ("north", "thanks"),
        ("plain", "thanks"),
        ("north", None),
    ]
    assert all(type(value) is not Shop for row in rows for value in row)
    assert made.ledger().coerced == {("shop.sale", "wrong_type"): 1}


def test_the_way_for_enumerations_rolls_on_to_the_next_segment(tmp_path: Path) -> None:
    made = emitter(tmp_path, segment_bytes=1 << 16, spool_bytes=1 << 20)
    for number in range(3000):
        made.emit(sale(number, shop=Shop.NORTH))
    assert numbers(made) == list(range(3000))
    assert len(list(made.spool.directory.glob("*.spool"))) > 1


def test_events_of_a_type_that_is_declared_late_are_taken_like_all_others(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.declare(VISIT)
    made.emit(Visit("front"))
    assert [(row[0], row[3]) for row in made.spool.queue.after(0, 9).rows] == [(3, "front")]
    assert made.ledger().dropped == {}


def test_threads_that_declare_at_once_get_ids_of_their_own(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    kinds = [type(f"Kind{number}", (Visit,), {}) for number in range(20)]
    events = [Event(kind, f"shop.kind{number}") for number, kind in enumerate(kinds)]
    threads = [threading.Thread(target=made.declare, args=(event,)) for event in events]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(item.event_id for item in made.spool.queue.meta.defines) == list(range(1, 23))


def test_what_is_refused_by_name_stands_in_the_ledger(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.drop("shop.visit", "too_many_types")
    ledger = made.ledger()
    assert (ledger.emitted, ledger.dropped) == (1, {("shop.visit", "too_many_types"): 1})


def test_scalars_of_numpy_are_told_by_their_values(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    number: Any = np.int64(7)
    for _ in range(2):
        made.emit(sale(number, price=np.float64(1.5), paid=np.bool_(True), note=np.str_("tor")))
    rows = made.spool.queue.after(0, 9).rows
    assert [row[4:8] for row in rows] == [(1.5, 7, True, "tor")] * 2
    assert {type(value) for row in rows for value in row[3:]} <= EXACT
    assert made.ledger().coerced == {}


def test_scalars_of_numpy_beside_enumerations_are_told_by_their_values(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    for _ in range(2):
        made.emit(sale(shop=Shop.NORTH, price=np.float32(0.5)))
    assert [row[3:5] for row in made.spool.queue.after(0, 9).rows] == [("north", 0.5)] * 2


def test_a_decimal_amount_is_a_number(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.emit(sale(price=Decimal("1.5")))
    assert [row[4] for row in made.spool.queue.after(0, 9).rows] == [1.5]


def test_an_array_where_a_number_belongs_is_counted(tmp_path: Path) -> None:
    made = emitter(tmp_path)
    made.emit(sale(price=np.array([1.0, 2.0])))
    assert [row[4] for row in made.spool.queue.after(0, 9).rows] == [None]
    assert made.ledger().coerced == {("shop.sale", "wrong_type"): 1}


def test_types_are_looked_at_from_the_moment_that_numpy_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "numpy")
    made = emitter(tmp_path)
    made.emit(sale(price=np.float64(1.5)))
    monkeypatch.setitem(sys.modules, "numpy", np)
    made.watch_numpy()
    made.emit(sale(price=np.float64(1.5)))
    assert [row[4] for row in made.spool.queue.after(0, 9).rows] == [np.float64(1.5).tobytes(), 1.5]


@pytest.mark.parametrize(("told_ns", "kept_ns"), [(5, 5), (0, START_NS), (-1, START_NS), (1 << 80, START_NS)])
def test_an_event_may_bring_its_time(tmp_path: Path, told_ns: int, kept_ns: int) -> None:
    made = emitter(tmp_path)
    made.emit_at(sale(), told_ns)
    assert [row[1] for row in made.spool.queue.after(0, 9).rows] == [kept_ns]
