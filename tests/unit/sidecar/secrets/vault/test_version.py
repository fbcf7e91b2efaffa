"""Versions that are news, and those that are not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sidecar.secrets.vault.version import Order, VersionMark

NOON = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "seconds", "order"),
    [
        ("3", 0, Order.SAME),
        ("4", 1, Order.NEWER),
        ("1", 1, Order.NEWER),
        ("3", 1, Order.NEWER),
        ("2", -1, Order.OLDER),
        ("9", -1, Order.OLDER),
        ("4", None, Order.NEWER),
        ("2", None, Order.OLDER),
        ("3", None, Order.SAME),
        ("0a:0b", None, Order.NEWER),
    ],
)
def test_the_time_of_a_version_decides_and_its_number_only_without_one(
    number: str, seconds: int | None, order: Order
) -> None:
    seen = VersionMark(version=number, made_at=None if seconds is None else NOON + timedelta(seconds=seconds))
    assert seen.order(VersionMark(version="3", made_at=NOON)) is order
