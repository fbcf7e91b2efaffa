from __future__ import annotations

import pytest

from producer.health import camel_case


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ("venue-token", "VenueToken"),
        ("not_sent", "NotSent"),
        ("ownership:101-004-1234567-002", "Ownership:101-004-1234567-002"),
        ("TelemetrySpool", "TelemetrySpool"),
        ("", ""),
    ],
)
def test_names_and_reasons_are_spelt_by_one_custom(ours: str, said: str) -> None:
    assert camel_case(ours) == said
