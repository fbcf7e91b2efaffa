from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker.orders.checks import risk
from broker.orders.model import lifecycle
from broker.venue.v20.transactions import KNOWN_REASONS, reason_label


@pytest.mark.parametrize(
    "name", ["UNITS_MIMIMUM_NOT_MET", "UNITS_MINIMUM_NOT_MET", "INSUFFICIENT_MARGIN", "CLIENT_REQUEST"]
)
def test_the_venues_names_are_labels_in_both_spellings(name: str) -> None:
    assert reason_label(name) == name


def test_an_invented_reason_is_other() -> None:
    assert reason_label("INVENTED_YESTERDAY") == "OTHER"


def test_every_reason_of_the_checks_is_known() -> None:
    names = set(re.findall(r'return "([A-Z_]{4,})"', Path(risk.__file__).read_text(encoding="utf-8")))
    assert names
    assert names <= KNOWN_REASONS


def test_every_reason_of_the_order_life_cycle_is_known() -> None:
    names = {value for name, value in vars(lifecycle).items() if name == value}
    assert lifecycle.JOURNAL_UNAVAILABLE in names
    assert names <= KNOWN_REASONS
