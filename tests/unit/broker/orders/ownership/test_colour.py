from __future__ import annotations

from pathlib import Path

import pytest

from broker.orders.ownership.colour import ColouredLease, is_active
from broker.orders.ownership.file_lease import FileLease

LABEL = "broker.role/colour"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ('app="broker"\nbroker.role/colour="active"\n', True),
        ('broker.role/colour="active"', True),
        ('broker.role/colour="preview"\n', False),
        ('other.broker.role/colour="active"\n', False),
        ("broker.role/colour=active\n", False),
        ("", False),
    ],
)
def test_only_the_labels_own_value_makes_a_colour_active(labels: str, expected: bool) -> None:
    assert is_active(labels, LABEL) is expected


def coloured(directory: Path, name: str) -> tuple[ColouredLease, Path]:
    labels = directory / f"{name}.labels"
    inner = FileLease(directory / "lease", owner="broker", lease_s=60)
    return ColouredLease(inner, labels, LABEL), labels


async def test_without_a_file_nobody_is_active(tmp_path: Path) -> None:
    lease, _ = coloured(tmp_path, "blue")
    assert await lease.take() > 0
    assert lease.epoch == 0


async def test_the_account_follows_the_active_colour(tmp_path: Path) -> None:
    (blue, blue_labels), (green, green_labels) = coloured(tmp_path, "blue"), coloured(tmp_path, "green")
    blue_labels.write_text(f'{LABEL}="active"\n')
    green_labels.write_text(f'{LABEL}="preview"\n')
    assert await blue.take() == 0.0
    assert await green.take() > 0
    assert (blue.holds(), green.holds()) == (True, False)

    green_labels.write_text(f'{LABEL}="active"\n')
    blue_labels.write_text(f'{LABEL}="preview"\n')
    assert await green.take() > 0, "the former colour holds it until it has released"
    assert blue.is_wanted() is False
    assert await blue.take() > 0
    assert await green.take() == 0.0
    assert (blue.holds(), green.holds()) == (False, True)
    await green.release()


async def test_a_preview_knows_where_the_owner_is(tmp_path: Path) -> None:
    owner = FileLease(tmp_path / "lease", owner="broker", lease_s=60, address="10.0.0.1:8080")
    preview, _ = coloured(tmp_path, "green")
    assert await owner.take() == 0.0
    assert await preview.take() > 0
    assert preview.address() == "10.0.0.1:8080"
    await owner.release()
