from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import pytest

from producer.declare import (
    Catalogue,
    Counter,
    DeclarationError,
    Event,
    Gauge,
    Histogram,
    Label,
    Log,
    Measure,
    UpDownCounter,
    combinations,
)
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.producer.samples import CHATTER, SALE, SHOP, Chatter, Sale


def test_a_definition_says_fields_instruments_and_log() -> None:
    define = SHOP.defines({"broker": "oanda"})[0]
    assert (define.event_id, define.name, define.reserved) == (1, "shop.sale", True)
    assert [(field.name, field.type, field.role) for field in define.fields] == [
        ("shop", pb.FIELD_TYPE_STRING, pb.FIELD_ROLE_LABEL),
        ("price", pb.FIELD_TYPE_DOUBLE, pb.FIELD_ROLE_MEASURE),
        ("number", pb.FIELD_TYPE_INT64, pb.FIELD_ROLE_ATTRIBUTE),
        ("paid", pb.FIELD_TYPE_BOOL, pb.FIELD_ROLE_ATTRIBUTE),
        ("note", pb.FIELD_TYPE_STRING, pb.FIELD_ROLE_ATTRIBUTE),
        ("discount", pb.FIELD_TYPE_DOUBLE, pb.FIELD_ROLE_MEASURE),
    ]
    counter, histogram = define.instruments
    assert (counter.kind, counter.measure, dict(counter.constant_labels)) == (
        pb.INSTRUMENT_KIND_COUNTER,
        "",
        {"broker": "oanda"},
    )
    assert (histogram.measure, list(histogram.bounds)) == ("price", [1.0, 10.0])
    assert (define.log.severity, define.log.body) == (pb.SEVERITY_INFO, "Sold")


def test_an_instrument_has_its_own_constant_labels_beside_the_producers() -> None:
    counters = [Counter("shop.doors", labels=(), constant={"door": door}) for door in ("front", "back")]
    event = Event(Sale, "shop.opened", instruments=tuple(counters))
    (define,) = Catalogue([event]).defines({"broker": "oanda"})
    assert [dict(item.constant_labels) for item in define.instruments] == [
        {"broker": "oanda", "door": "front"},
        {"broker": "oanda", "door": "back"},
    ]


def test_an_event_without_a_log_has_no_template() -> None:
    assert not SHOP.defines({})[1].HasField("log")


class Wrong(NamedTuple):
    """Has a field that no column takes."""

    price: Decimal
    either: str | int


class Talk(NamedTuple):
    """Measures a text."""

    text: Measure[str]


class Visit(NamedTuple):
    """Somebody came in."""

    door: Label[str]
    number: int
    seconds: Measure[float]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"type": Wrong}, "field 'price' must be str, float, int or bool"),
        ({"type": tuple}, "not a named tuple"),
        ({"name": "Shop Sale"}, "name 'Shop Sale'"),
        ({"type": Talk}, "measure 'text' must be int or float"),
        ({"instruments": (Counter("9"),)}, "instrument '9': name"),
        ({"instruments": (Gauge("a"),)}, "needs a measure"),
        ({"instruments": (UpDownCounter("a", measure="number"),)}, "'number' is not one of"),
        ({"instruments": (Counter("a", labels=("number",)),)}, "'number' is not one of"),
        ({"instruments": (Counter("a", only_when={"number": "x"}),)}, "'number' is not one of"),
        (
            {"instruments": (Counter("a", constant={"shop": "x"}),)},
            "['shop'] cannot be a label of the event and a constant one",
        ),
        ({"instruments": (Counter("a", presets=((),)),)}, "each preset needs a value for each of its 1 labels"),
        ({"instruments": (Histogram("a", measure="price", buckets=()),)}, "buckets must be"),
        ({"instruments": (Histogram("a", measure="price", buckets=(2.0, 1.0)),)}, "buckets must be"),
    ],
)
def test_a_wrong_declaration_names_its_fault(changes: dict[str, object], fault: str) -> None:
    arguments: dict[str, object] = {"type": Sale, "name": "shop.sale", **changes}
    with pytest.raises(DeclarationError) as caught:
        Event(**arguments)  # type: ignore[arg-type] # wrong on purpose
    assert fault in str(caught.value)


def test_all_faults_of_a_declaration_come_at_once() -> None:
    with pytest.raises(DeclarationError) as caught:
        Event(Sale, "!", instruments=(Counter("a", labels=("nobody",)),))
    assert len(caught.value.faults) == 2


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"'shop\.chatter' stands twice"):
        Catalogue((CHATTER, Event(Sale, "shop.chatter")))


def test_events_that_disagree_about_an_instrument_are_refused() -> None:
    other = Event(Chatter, "shop.other", instruments=(Counter("shop.sales", "s"),))
    with pytest.raises(DeclarationError, match=r"'shop\.sales' of shop\.other differs"):
        Catalogue((SALE, other))


def test_a_log_needs_no_instrument() -> None:
    event = Event(Chatter, "shop.said", log=Log(pb.SEVERITY_DEBUG, "Said"))
    assert [column.role for column in event.columns] == [pb.FIELD_ROLE_ATTRIBUTE]


def test_an_instrument_has_every_label_and_the_only_measure_of_its_event() -> None:
    event = Event(Visit, "shop.visit", instruments=(Gauge("shop.stay", "s"), Counter("shop.visits")))
    assert [(item.labels, item.measure) for item in event.instruments] == [(("door",), "seconds"), (("door",), "")]


def test_labels_that_an_instrument_names_are_its_only_ones() -> None:
    event = Event(Visit, "shop.visit", instruments=(Counter("shop.visits", labels=()),))
    assert event.instruments[0].labels == ()


def test_the_decorator_declares_the_next_event_and_returns_the_named_tuple() -> None:
    catalogue = Catalogue((CHATTER,))
    decorated = catalogue.event("shop.visit", log=Log(pb.SEVERITY_INFO, "Came"))(Visit)
    assert decorated is Visit
    assert [(item.event_id, item.name) for item in catalogue.defines({})] == [(1, "shop.chatter"), (2, "shop.visit")]


def test_instruments_that_decorate_a_named_tuple_are_those_of_its_event() -> None:
    catalogue = Catalogue()

    @catalogue.event("shop.visit")
    @Counter("shop.visits")
    @Gauge("shop.stay", "s")
    class Stay(NamedTuple):
        """Somebody stayed."""

        seconds: Measure[float]

    (define,) = catalogue.defines({})
    assert [(item.name, item.measure) for item in define.instruments] == [("shop.visits", ""), ("shop.stay", "seconds")]
    assert Stay(1.0) == (1.0,)


def test_presets_are_the_combinations_of_the_values_of_each_label() -> None:
    assert combinations(("a", "b"), ("x",)) == (("a", "x"), ("b", "x"))
    assert combinations() == ((),)
