"""Publishing: whole sets, whatever dies when."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.secrets.errors import PublishError
from sidecar.secrets.publish.directory_swap import FileContent, GenerationDirectory, check_memory_backed, filesystem_of
from sidecar.secrets.publish.manifest import Manifest, ManifestEntry

CALLS = (
    "mkdir",
    "open",
    "write",
    "fchown",
    "fchmod",
    "fsync",
    "close",
    "chown",
    "chmod",
    "symlink",
    "replace",
    "unlink",
)


class KilledError(BaseException):
    """Signal 9."""


def manifest(generation: int, *files: str) -> Manifest:
    entry = ManifestEntry(source="kv", version=str(generation), expires_at=None, files=files)
    return Manifest(generation=generation, published_at="2026-11-02T12:00:00Z", secrets={"all": entry})


def contents(text: str, *names: str) -> dict[str, FileContent]:
    return {name: FileContent(data=f"{text} {name}".encode()) for name in names}


def publisher_in(place: Path) -> GenerationDirectory:
    return GenerationDirectory(place, require_tmpfs=False)


def visible(place: Path) -> dict[str, str]:
    """Files that a reader of the links sees."""
    return {
        entry.name: Path(entry.path).read_text()
        for entry in os.scandir(place)
        if not entry.name.startswith("..") and entry.name != "manifest.json"
    }


def test_a_set_is_visible_through_its_links(tmp_path: Path) -> None:
    publisher = publisher_in(tmp_path)
    assert publisher.open() is None
    publisher.publish(manifest(1, "a", "b"), contents("one", "a", "b"))
    assert visible(tmp_path) == {"a": "one a", "b": "one b"}
    assert str((tmp_path / "a").readlink()) == "..data/a"
    assert publisher.current() == manifest(1, "a", "b")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_permissions_hold_under_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        publisher = publisher_in(tmp_path / "new")
        publisher.open()
        publisher.publish(manifest(1, "a"), {"a": FileContent(data=b"x", mode=0o400)})
    finally:
        os.umask(before)
    place = tmp_path / "new"
    assert stat.S_IMODE((place / "a").stat().st_mode) == 0o400
    assert stat.S_IMODE((place / "manifest.json").stat().st_mode) == 0o440
    assert stat.S_IMODE((place / "..data").stat().st_mode) == 0o750


def test_the_owner_is_set_before_there_is_anything_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def fchown(handle: int, uid: int, gid: int) -> None:
        sizes.append((os.fstat(handle).st_size, uid, gid))

    monkeypatch.setattr(os, "fchown", fchown)
    monkeypatch.setattr(os, "chown", lambda *_: None)
    publisher = GenerationDirectory(tmp_path, owner=(7, 8), require_tmpfs=False)
    publisher.publish(manifest(1, "a"), contents("one", "a"))
    assert sizes == [(0, 7, 8), (0, 7, 8)]


def test_a_file_that_is_no_more_loses_its_link(tmp_path: Path) -> None:
    publisher = publisher_in(tmp_path)
    publisher.publish(manifest(1, "a", "b"), contents("one", "a", "b"))
    publisher.publish(manifest(2, "b"), contents("two", "b"))
    assert visible(tmp_path) == {"b": "two b"}


def test_a_replaced_set_stays_until_it_is_swept(tmp_path: Path) -> None:
    publisher = publisher_in(tmp_path)
    publisher.publish(manifest(1, "a"), contents("one", "a"))
    old = (tmp_path / "..data").resolve()
    publisher.publish(manifest(2, "a"), contents("two", "a"))
    assert (old / "a").read_text() == "one a"
    publisher.sweep(frozenset(publisher.replaced()))
    assert old.exists()
    publisher.sweep()
    assert not old.exists()
    assert visible(tmp_path) == {"a": "two a"}


def test_a_full_volume_leaves_the_set_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = publisher_in(tmp_path)
    publisher.publish(manifest(1, "a"), contents("one", "a"))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PublishError, match="No space left on device; the generation before stays"):
        publisher.publish(manifest(2, "a"), contents("two", "a"))
    assert visible(tmp_path) == {"a": "one a"}
    assert publisher.replaced() == []


def dying_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Makes the process die at its nth system call; says afterwards whether there were so many."""
    left = [number]

    def wrapped(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise KilledError
            return real(*arguments, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, wrapped(name))
    return lambda: left[0] <= 0


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_a_kill_at_any_system_call_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    number, died = 0, True
    while died:
        number += 1
        place = tmp_path / str(number)
        place.mkdir()
        if not first:
            publisher_in(place).publish(manifest(1, "a", "b"), contents("one", "a", "b"))
        with monkeypatch.context() as patch:
            died_yet = dying_at(number, patch)
            with contextlib.suppress(KilledError):
                publisher_in(place).publish(manifest(2, "b", "c"), contents("two", "b", "c"))
            died = died_yet()
        check_convergence(place, first=first)
    assert number > 30


def check_convergence(place: Path, *, first: bool) -> None:
    publisher = publisher_in(place)
    found = publisher.open()
    if found and found.generation == 2:
        assert visible(place) == {"b": "two b", "c": "two c"}
    elif first:
        assert found is None
    else:
        assert visible(place) == {"a": "one a", "b": "one b"}
    publisher.publish(manifest(3, "c"), contents("three", "c"))
    publisher.sweep()
    names = sorted(entry.name for entry in os.scandir(place))
    assert names == [str((place / "..data").readlink()), "..data", "c", "manifest.json"]
    assert visible(place) == {"c": "three c"}


DAMAGED = [
    "",
    "[]",
    "7",
    '{"version": 99}',
    '{"version": 1, "generation": 1, "published_at": "yesterday", "secrets": {}}',
    '{"version": 1, "generation": 1, "published_at": "2026-11-02T12:00:00Z", "secrets": []}',
    '{"version": 1, "generation": 1, "published_at": "2026-11-02T12:00:00Z", "secrets": {"a": {}}}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_what_is_no_manifest_of_ours_is_no_set(tmp_path: Path, text: str) -> None:
    publisher = publisher_in(tmp_path)
    publisher.publish(manifest(1, "a"), contents("one", "a"))
    path = tmp_path / "..data" / "manifest.json"
    path.chmod(0o600)
    path.write_text(text)
    assert publisher.current() is None
    assert publisher.highest() == 1


def test_a_set_that_cannot_be_read_back_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = publisher_in(tmp_path)
    publisher.publish(manifest(1, "a"), contents("one", "a"))

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    assert publisher.contents() == contents("one", "a")
    monkeypatch.setattr(Path, "read_bytes", denied)
    assert publisher.contents() == {}


def test_a_disk_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.secrets.publish.directory_swap.filesystem_of", lambda _: "ext4")
    with pytest.raises(PublishError, match=r"lies on ext4, not in memory; mount a tmpfs"):
        check_memory_backed(tmp_path)


def test_the_kind_of_file_system_is_found() -> None:
    assert filesystem_of(Path("/proc")) == "proc"


@pytest.mark.parametrize("target", ["{outside}", "../outside", "..9-link0000", "..9-0011aabb", "plain"])
def test_a_foreign_link_is_not_adopted_and_the_next_set_replaces_it(tmp_path: Path, target: str) -> None:
    outside = tmp_path / "outside"
    publisher_in(outside).open()
    publisher_in(outside).publish(manifest(999_999_999, "a"), contents("foreign", "a"))
    foreign = outside / (outside / "..data").readlink()
    place = tmp_path / "volume"
    publisher = publisher_in(place)
    publisher.open()
    if not target.startswith(("{", "../")):
        (place / target).symlink_to(foreign)
    (place / "..data").symlink_to(target.format(outside=foreign))

    assert (publisher.open(), publisher.contents(), publisher.highest()) == (None, {}, 0)
    publisher.publish(manifest(1, "a"), contents("one", "a"))
    assert (place / "a").read_text() == "one a"
    assert (foreign / "a").read_text() == "foreign a"


def test_a_planted_file_of_a_set_is_not_adopted(tmp_path: Path) -> None:
    publisher = publisher_in(tmp_path)
    publisher.publish(manifest(1, "a"), contents("one", "a"))
    (tmp_path / "victim").write_text("foreign")
    (tmp_path / "..data" / "b").symlink_to(tmp_path / "victim")
    assert publisher.contents() == contents("one", "a")


def test_a_volume_on_a_disk_gets_no_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.secrets.publish.directory_swap.filesystem_of", lambda _: "ext4")
    with pytest.raises(PublishError, match="lies on ext4"):
        GenerationDirectory(tmp_path / "published").open()
    assert list((tmp_path / "published").iterdir()) == []
