from __future__ import annotations

import enum
import json
import math
from array import array
from collections import UserDict
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.plain_values import CUT, EXACT, as_json, label_text, plain_number, plain_value


class Shop(enum.StrEnum):
    NORTH = "north"


class Level(enum.IntEnum):
    HIGH = 3


def kind_of(value: object) -> str:
    return type(value).__name__


class Rude:
    def __str__(self) -> str:
        raise RuntimeError

    @property
    def shape(self) -> tuple[int, ...]:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "wanted", "told"),
    [
        (1, int, 1),
        ("a", str, "a"),
        (None, str, None),
        (True, bool, True),
        (Shop.NORTH, str, "north"),
        (Level.HIGH, int, 3),
        ([], str, None),
        (np.float64(1.5), float, 1.5),
        (np.float32(0.5), float, 0.5),
        (np.float16(0.5), float, 0.5),
        (np.longdouble(2.5), float, 2.5),
        (np.int64(7), int, 7),
        (np.uint8(7), float, 7),
        (np.bool_(True), bool, True),
        (np.str_("tor"), str, "tor"),
        (np.array(2.0), float, 2.0),
        (np.array([2.0, 3.0]), float, None),
        (np.datetime64("2020-01-02T03:04:05", "us"), str, "2020-01-02T03:04:05"),
        (Decimal("1.50"), str, "1.50"),
        (Decimal("1.50"), float, 1.5),
        (Decimal("sNaN"), float, None),
        (Fraction(1, 4), float, 0.25),
        (Fraction(10**400), float, None),
        (datetime(2020, 1, 2, tzinfo=UTC), str, "2020-01-02T00:00:00+00:00"),
        (date(2020, 1, 2), str, "2020-01-02"),
        (b"gr\xc3\xbc", str, "grü"),
        (b"\xff", str, None),
        (b"12345678", float, None),
        (array("d", [1.0]), float, None),
        (UUID(int=1), str, "00000000-0000-0000-0000-000000000001"),
        (Path("a"), str, "a"),
        (Rude(), str, None),
    ],
    ids=kind_of,
)
def test_a_value_takes_the_nearest_form_that_its_column_has(value: Any, wanted: type, told: Any) -> None:
    found = plain_value(value, wanted)
    assert (found, type(found)) == (told, type(told))


@pytest.mark.parametrize(
    ("value", "number"),
    [(True, 1), (np.float64(2.5), 2.5), (Decimal(3), 3.0), ("3", None), (b"3", None), (None, None), (1j, None)],
    ids=repr,
)
def test_an_amount_is_a_plain_number_or_none(value: Any, number: Any) -> None:
    assert plain_number(value) == number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("rye", "rye"),
        (Shop.NORTH, "north"),
        (np.str_("rye"), "rye"),
        (7, "7"),
        (1.0, "1.0"),
        (np.float64(1.5), "1.5"),
        (np.bool_(False), "false"),
        (math.nan, "NaN"),
        (None, "null"),
        (b"rye", "rye"),
        (("a", 1), '["a", 1]'),
        ({1: "a", "b": 2}, '{"1": "a", "b": 2}'),
        (np.array([1, 2]), "[1, 2]"),
        (date(2020, 1, 2), "2020-01-02"),
        (Rude(), "<Rude>"),
    ],
    ids=kind_of,
)
def test_a_label_is_a_text(value: Any, text: str) -> None:
    assert label_text(value) == text
    assert type(label_text(value)) is str


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"codes": {200: 1, "other": 2}}, {"codes": {"200": 1, "other": 2}}),
        ({"pairs": {("EUR", "USD"): 1.1}}, {"pairs": {"('EUR', 'USD')": 1.1}}),
        ({date(2020, 1, 2): 1, None: 2, True: 3}, {"2020-01-02": 1, "null": 2, "true": 3}),
        ({"x": math.nan, "y": -math.inf}, {"x": "NaN", "y": "-Infinity"}),
        ({"set": {3, 1}, "bytes": b"\xff"}, {"set": [1, 3], "bytes": "/w=="}),
        ({"day": date(2020, 1, 2)}, {"day": "2020-01-02"}),
        ({"user": UserDict({"a": (1, 2)})}, {"user": {"a": [1, 2]}}),
        ({"rude": Rude()}, {"rude": "<Rude>"}),
    ],
    ids=["mixed keys", "pairs", "other keys", "not finite", "a set", "a date", "a mapping", "raises"],
)  # fmt: skip
def test_attributes_are_json(attributes: dict[Any, Any], told: Any) -> None:
    assert json.loads(as_json(attributes) or "") == told


def test_no_attributes_are_no_text() -> None:
    assert as_json({}) is None


def test_a_structure_that_contains_itself_is_cut() -> None:
    circle: dict[str, Any] = {"a": 1}
    circle["self"] = circle
    assert json.loads(as_json(circle) or "") == {"a": 1, "self": CUT}


def test_a_structure_that_is_too_deep_is_cut() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    assert CUT in (as_json({"deep": deep}) or "")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.datetimes(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.dictionaries(st.text() | st.integers() | st.none() | st.booleans(), inner)
        | st.sets(st.integers() | st.text())
    ),
    max_leaves=20,
)


@given(ANY)
def test_every_value_has_a_form_that_the_spool_writes_and_readers_parse(value: Any) -> None:
    assert type(label_text(value)) is str
    json.loads(as_json({"value": value}) or "", parse_constant=pytest.fail)
    for wanted in (str, float, int, bool):
        assert type(plain_value(value, wanted)) in EXACT
