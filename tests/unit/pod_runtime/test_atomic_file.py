from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from pod_runtime.atomic_file import LEFT_BEHIND_S, create_file, make_private_directory, replace_file


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


def test_links_that_were_planted_lead_no_write_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    (tmp_path / "lease").symlink_to(victim)
    # As if somebody had guessed the random part.
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (tmp_path / ".lease.guessed.new").symlink_to(victim)
    with pytest.raises(FileExistsError):
        replace_file(tmp_path / "lease", b"new")
    (tmp_path / ".lease.guessed.new").unlink()
    replace_file(tmp_path / "lease", b"new")
    assert (victim.read_bytes(), (tmp_path / "lease").is_symlink()) == (b"kept", False)


def test_a_new_file_is_created_once_with_its_mode_and_appended_to(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        handle = create_file(tmp_path / "journal", b"one")
    finally:
        os.umask(before)
    os.write(handle, b" two")
    os.close(handle)
    assert (tmp_path / "journal").read_bytes() == b"one two"
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "journal", b"other")


@pytest.mark.parametrize(("mode", "kept"), [(0o755, 0o750), (0o777, 0o770), (0o700, 0o700), (0o2777, 0o2770)])
def test_a_directory_of_ours_is_closed_to_others(tmp_path: Path, mode: int, kept: int) -> None:
    place = tmp_path / "orders"
    place.mkdir()
    place.chmod(mode)
    make_private_directory(place)
    assert stat.S_IMODE(place.stat().st_mode) == kept


def test_scratch_files_of_crashes_go_and_those_of_living_processes_stay(tmp_path: Path) -> None:
    for name, age_s in ((".lease.0011aabb.new", 2 * LEFT_BEHIND_S), (".lease.ccdd2233.new", 0.0), ("x.new", 1e6)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, times=(time.time() - age_s,) * 2)
    make_private_directory(tmp_path)
    assert {item.name for item in tmp_path.iterdir()} == {".lease.ccdd2233.new", "x.new"}
