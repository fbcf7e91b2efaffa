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
    Log,
    UpDownCounter,
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
    counters = [Counter(name="shop.doors", description="", constant={"door": door}) for door in ("front", "back")]
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


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"type": Wrong}, "field 'price' must be str, float, int or bool"),
        ({"type": tuple}, "not a named tuple"),
        ({"name": "Shop Sale"}, "name 'Shop Sale'"),
        ({"labels": ("shp",)}, "'shp' is not a field"),
        ({"measures": ("shop",)}, "measure 'shop' must be int or float"),
        ({"labels": ("number",), "measures": ("number",)}, "cannot be label and measure"),
        ({"instruments": (Counter(name="9", description=""),)}, "instrument '9': name"),
        ({"instruments": (Gauge(name="a", description=""),)}, "needs a measure"),
        ({"instruments": (UpDownCounter(name="a", description="", measure="price"),)}, "'price' is not one of"),
        ({"instruments": (Counter(name="a", description="", labels=("shop",)),)}, "'shop' is not one of"),
        ({"instruments": (Counter(name="a", description="", only_when={"shop": "x"}),)}, "'shop' is not one of"),
        (
            {
                "labels": ("shop",),
                "instruments": (Counter(name="a", description="", labels=("shop",), constant={"shop": "x"}),),
            },
            "['shop'] cannot be a label of the event and a constant one",
        ),
        (
            {
                "measures": ("price",),
                "instruments": (Histogram(name="a", description="", measure="price", buckets=()),),
            },
            "buckets must be",
        ),
        (
            {
                "measures": ("price",),
                "instruments": (Histogram(name="a", description="", measure="price", buckets=(2.0, 1.0)),),
            },
            "buckets must be",
        ),
    ],
)
def test_a_wrong_declaration_names_its_fault(changes: dict[str, object], fault: str) -> None:
    arguments: dict[str, object] = {"type": Sale, "name": "shop.sale", **changes}
    with pytest.raises(DeclarationError) as caught:
        Event(**arguments)  # type: ignore[arg-type] # wrong on purpose
    assert fault in str(caught.value)


def test_all_faults_of_a_declaration_come_at_once() -> None:
    with pytest.raises(DeclarationError) as caught:
        Event(Sale, "!", labels=("nobody",))
    assert len(caught.value.faults) == 2


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"'shop\.chatter' stands twice"):
        Catalogue((CHATTER, Event(Sale, "shop.chatter")))


def test_events_that_disagree_about_an_instrument_are_refused() -> None:
    other = Event(Chatter, "shop.other", instruments=(Counter(name="shop.sales", description="", unit="s"),))
    with pytest.raises(DeclarationError, match=r"'shop\.sales' of shop\.other differs"):
        Catalogue((SALE, other))


def test_a_log_needs_no_instrument() -> None:
    event = Event(Chatter, "shop.said", log=Log(pb.SEVERITY_DEBUG, "Said"))
    assert event.role("text") == pb.FIELD_ROLE_ATTRIBUTE
