from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker.orders import engine
from broker.orders.checks import risk
from broker.venue.v20.transactions import KNOWN_REASONS, reason_label


@pytest.mark.parametrize(
    "name", ["UNITS_MIMIMUM_NOT_MET", "UNITS_MINIMUM_NOT_MET", "INSUFFICIENT_MARGIN", "CLIENT_REQUEST"]
)
def test_the_venues_names_are_labels_in_both_spellings(name: str) -> None:
    assert reason_label(name) == name


def test_an_invented_reason_is_other() -> None:
    assert reason_label("INVENTED_YESTERDAY") == "OTHER"


@pytest.mark.parametrize("module", [risk, engine])
def test_every_reason_of_ours_is_known(module: object) -> None:
    text = Path(str(module.__file__)).read_text(encoding="utf-8")  # type: ignore[attr-defined]
    names = set(re.findall(r'return "([A-Z_]{4,})"', text)) | set(re.findall(r'(?:DENIED|REJECTED), "([A-Z_]+)"', text))
    assert names
    assert names <= KNOWN_REASONS
