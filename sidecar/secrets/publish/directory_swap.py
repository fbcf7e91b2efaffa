"""Published files: a directory for each generation, and one link that is swapped, as the kubelet does for Secrets.

    venue.json    -> ..data/venue.json          made once for each name, never swapped
    manifest.json -> ..data/manifest.json
    ..data        -> ..7-1f3a9c02               the swap: rename(2) of a new link over this one
    ..7-1f3a9c02/   venue.json, manifest.json   generation 7, complete before the swap
    ..6-90b1d4e7/                               generation 6, kept for `grace_s` for readers inside it
    ..data_5c0e11aa                             a link on its way to be renamed

A reader that resolves `..data` once and opens the files below it gets one whole generation. A reader that opens two
links one after the other may get two generations, but never half a file. rename(2) is atomic for every reader, and a
link that points into `..data` follows the swap by itself: no link of a file has to change together with another
(k8s.io/kubernetes/pkg/volume/util/atomic_writer.go does the same).

A kill at each step leaves, and `open` does at the next start:

- while a directory is written: a directory that no link names, of a number above the published one. Removed;
- between the new link and its rename: a `..data_` link as well. Both removed;
- after the swap, before the links of new names: the generation is visible through `..data`. `open` makes the links;
- before the links of names that are gone have been removed: they lead nowhere until `open` removes them.

Only one thread works on a directory at a time. The volume is memory-backed, so a power failure takes it as a whole;
the fsyncs serve those who set `require_tmpfs = false`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pod_runtime.atomic_file import fsync_directory
from sidecar.secrets.errors import PublishError
from sidecar.secrets.publish.manifest import NO_MANIFEST, Manifest
from sidecar.secrets.settings import MANIFEST

DATA = "..data"
_SWAP = "..data_"
_OUR_NAME = re.compile(r"\.\.[0-9]+-[0-9a-f]{8}")
DIRECTORY_MODE = 0o750
MANIFEST_MODE = 0o440
# Replaced generations kept at most, whatever their grace: the volume is small and in memory.
KEPT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """Bytes and permissions of a file."""

    data: bytes = field(repr=False)
    mode: int = 0o440


class GenerationDirectory:
    """The shared directory of published generations. Its calls block; one caller at a time."""

    def __init__(self, directory: Path, *, owner: tuple[int, int] = (-1, -1), require_tmpfs: bool = True) -> None:
        self._directory, self._owner, self._require_tmpfs = directory, owner, require_tmpfs

    def open(self) -> Manifest | None:
        """Make the directory, repair a killed predecessor's work, and return the manifest; may raise PublishError."""
        try:
            if not self._directory.exists():
                self._directory.mkdir(parents=True)
                self._directory.chmod(DIRECTORY_MODE)  # mkdir's mode is less the umask
            if self._require_tmpfs:
                check_memory_backed(self._directory)
            self._drop_unswapped()
            manifest = self.current()
            if manifest is not None:
                self._link(self._files_of(self._target()))
        except OSError as error:
            raise PublishError(f"{self._directory}: {error.strerror}") from None
        return manifest

    def current(self) -> Manifest | None:
        """Return the published manifest; None if there is none that can be read."""
        if not (target := self._target()):
            return None
        try:
            return Manifest.parse((self._directory / target / MANIFEST).read_bytes())
        except (OSError, *NO_MANIFEST):
            return None

    def contents(self) -> dict[str, FileContent]:
        """Return the published files without the manifest; none if they are not ours to read."""
        target = self._target()
        place = self._directory / target
        try:
            return {
                name: FileContent(data=(place / name).read_bytes(), mode=stat.S_IMODE((place / name).stat().st_mode))
                for name in self._files_of(target)
            }
        except OSError:
            return {}

    def publish(self, manifest: Manifest, files: Mapping[str, FileContent]) -> None:
        """Make a generation visible as a whole, or raise PublishError and leave the generation before."""
        # The random part keeps the name apart from a half-written directory of a predecessor with the same number.
        place = self._directory / f"..{manifest.generation}-{secrets.token_hex(4)}"
        try:
            self._write(place, manifest, files)
            self._swap(place.name)
            self._link(files)
        except OSError as error:
            # Once swapped in, the directory is in use, even if a link could not be made.
            if self._target() != place.name:
                shutil.rmtree(place, ignore_errors=True)
            raise PublishError(f"{self._directory}: {error.strerror}; the generation before stays") from None

    def sweep(self, kept: frozenset[str] = frozenset()) -> None:
        """Remove every generation but the published one and those `kept`, which are names from `replaced`."""
        for name in self.replaced():
            if name not in kept:
                shutil.rmtree(self._directory / name, ignore_errors=True)

    def replaced(self) -> list[str]:
        """Return the names of the other generations, newest first, or raise PublishError."""
        target = self._target()
        try:
            names = [
                entry.name
                for entry in os.scandir(self._directory)
                if entry.name.startswith("..") and entry.is_dir(follow_symlinks=False) and entry.name != target
            ]
        except OSError as error:  # no descriptor left, or the volume fails
            raise PublishError(f"{self._directory}: {error.strerror}") from None
        return sorted(names, key=_generation_of, reverse=True)

    def highest(self) -> int:
        """Return the highest number of a generation, readable or not; 0 if there is none."""
        return max(0, *map(_generation_of, [self._target(), *self.replaced()]))

    def _write(self, place: Path, manifest: Manifest, files: Mapping[str, FileContent]) -> None:
        place.mkdir(mode=0o700)
        for name, content in files.items():
            self._write_file(place / name, content)
        text = json.dumps(manifest.tree(), indent=1) + "\n"
        self._write_file(place / MANIFEST, FileContent(data=text.encode(), mode=MANIFEST_MODE))
        os.chown(place, *self._owner)
        place.chmod(DIRECTORY_MODE)
        fsync_directory(place)

    def _write_file(self, path: Path, content: FileContent) -> None:
        """Write a file that no other user can read at any moment: owner and permissions come before the content."""
        # Other containers share the volume: a link that one of them planted must not redirect the write.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
        try:
            os.fchown(handle, *self._owner)
            os.fchmod(handle, content.mode)
            view = memoryview(content.data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def _swap(self, target: str) -> None:
        self._replace_link(self._directory / DATA, target)
        fsync_directory(self._directory)

    def _replace_link(self, link: Path, target: str) -> None:
        scratch = self._directory / f"{_SWAP}{secrets.token_hex(4)}"
        scratch.symlink_to(target)
        scratch.replace(link)

    def _link(self, names: Mapping[str, object]) -> None:
        """Make `name` → `..data/name` for every file, and remove links that lead to none."""
        for name in [*names, MANIFEST]:
            link, target = self._directory / name, f"{DATA}/{name}"
            if not link.is_symlink() or os.readlink(link) != target:  # noqa: PTH115 - the text of the link
                self._replace_link(link, target)
        for entry in list(os.scandir(self._directory)):
            stale = entry.is_symlink() and not entry.name.startswith("..") and entry.name not in {*names, MANIFEST}
            if stale and os.readlink(entry.path).startswith(DATA + "/"):  # noqa: PTH115 - the text of the link
                os.unlink(entry.path)  # noqa: PTH108 - a directory entry's own path

    def _drop_unswapped(self) -> None:
        """Remove links and generations that were never swapped in; replaced ones go when their grace ends."""
        target = self._target()
        for entry in list(os.scandir(self._directory)):
            if entry.name.startswith(_SWAP):
                os.unlink(entry.path)  # noqa: PTH108 - a directory entry's own path
        newest = _generation_of(target)
        for name in self.replaced():
            if not target or _generation_of(name) >= newest:
                shutil.rmtree(self._directory / name, ignore_errors=True)

    def _target(self) -> str:
        """Return the name of the published generation; "" if there is none of ours: the next swap replaces the link."""
        try:
            target = os.readlink(self._directory / DATA)  # noqa: PTH115 - the text of the link
            # Others share the volume: a link out of it, or to a link, would be adopted with whatever it leads to.
            is_ours = _OUR_NAME.fullmatch(target) and stat.S_ISDIR((self._directory / target).lstat().st_mode)
        except OSError:
            return ""
        return target if is_ours else ""

    def _files_of(self, target: str) -> dict[str, None]:
        if not target:
            return {}
        names = (entry.name for entry in os.scandir(self._directory / target) if entry.is_file(follow_symlinks=False))
        return {name: None for name in sorted(names) if name != MANIFEST}


def _generation_of(name: str) -> int:
    digits = name.removeprefix("..").partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else -1


_MEMORY_FILESYSTEMS = {"tmpfs", "ramfs"}


def check_memory_backed(path: Path) -> None:
    """Refuse a directory whose files would reach a disk. Raises PublishError if it is not on tmpfs or ramfs."""
    kind = filesystem_of(path)
    if kind not in _MEMORY_FILESYSTEMS:
        raise PublishError(
            f"{path} lies on {kind or 'an unknown file system'}, not in memory; "
            "mount a tmpfs there (an emptyDir with medium Memory), or set secrets.require_tmpfs = false"
        )


def filesystem_of(path: Path) -> str:
    """Return the type of the file system that holds `path`, by its device number."""
    # Python has no statfs(2); /proc/self/mountinfo tells the same (proc_pid_mountinfo(5)).
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[0]
    return ""
