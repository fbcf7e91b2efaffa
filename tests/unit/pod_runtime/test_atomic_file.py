from __future__ import annotations

import os
from pathlib import Path

import pytest

from pod_runtime.atomic_file import replace_file


def test_the_content_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "lease"
    replace_file(place, b"old")
    replace_file(place, b"new")
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == {"lease": b"new"}


def test_the_mode_is_exactly_what_was_asked_for(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "open", b"", mode=0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o644


def test_a_volume_that_is_full_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "lease"
    replace_file(place, b"old")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(place, b"new")
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == {"lease": b"old"}


def test_what_a_crash_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".lease.new").write_bytes(b"half of something longer")
    replace_file(tmp_path / "lease", b"new")
    assert (tmp_path / "lease").read_bytes() == b"new"
