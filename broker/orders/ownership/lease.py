"""File lease: ownership of an account among processes of one machine; `cluster_lease` is the same in a cluster.

Each term has a number, the epoch, and a file `lease.<epoch>` that its owner renews. A process acquires the account by
creating the next file exclusively (link(2)), so that two cannot win. An owner whose lease has run out, or that sees a
later epoch, stops before it sends: after a SIGSTOP it wakes up fenced. A lock on `alive.<epoch>` (flock(2)), which
the kernel drops when its process dies, tells a dead owner from a paused one: a successor follows a dead owner at once
and waits a paused one out.

A renewal needs neither space nor a descriptor: it writes over the bytes of its own file, which stays open. So an owner
keeps the account, and with it cancels, halts and reads, while the volume is full or the process has no descriptor
left. A reader takes the record only if it reads the same bytes twice.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from broker.orders.dependencies import NOBODY
from pod_runtime.files.atomic_file import make_private_directory, replace_file

MARGIN_SHARE = 0.2
"""Share of the lease by which an owner stops early and a successor waits longer; see leadership.py."""
KEPT_EPOCHS = 8
"""Files of former terms that stay: for a person who asks who traded, and for owners that are paused."""
RECORD_BYTES = 4096
"""Bytes of a lease file, filled up with blanks: a longer note and longer numbers need no more space."""
POLL_EVERY_S = 0.25
"""Seconds between a standby's attempts: a file costs nothing."""


def boot_time_s() -> float:
    """Seconds since boot, including time in which the machine or the process was suspended."""
    # CLOCK_BOOTTIME (clock_gettime(2)): CLOCK_MONOTONIC stops while a machine sleeps, and a lease must not.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLeaseRecord:
    """Content of a lease file."""

    owner: str
    epoch: int
    pid: int
    boot_id: str
    renewed_s: float
    """CLOCK_BOOTTIME, which also counts while the machine or the process is suspended."""
    lease_s: float
    address: str = ""
    """`host:port` of the owner's order API."""
    note: str = ""
    """Handover note of the owner."""


def wait_s(record: FileLeaseRecord | None, *, now_s: float, boot_id: str, holder_died: bool) -> float:
    """Seconds that a successor must wait; 0 lets it acquire now."""
    # Another boot: its owner died with the machine, and its clock began anew.
    if record is None or holder_died or record.boot_id != boot_id:
        return 0.0
    return max(0.0, record.renewed_s + record.lease_s * (1 + MARGIN_SHARE) - now_s)


def boot_id() -> str:
    """Id of this boot of the machine; empty if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _settled_bytes(path: Path) -> bytes:
    """Content of a file that its owner writes over: read until it is the same twice."""
    before, now = None, path.read_bytes()
    while now != before:
        before, now = now, path.read_bytes()
    return now


class FileLease:
    """Ownership of an account through files in `directory`. The caller releases it."""

    def __init__(self, directory: Path, *, owner: str, lease_s: float, address: str = "") -> None:
        self._directory = directory
        self._owner = owner
        self._address = address
        self._lease_s = lease_s
        self._boot_id = boot_id()
        self._alive = self._handle = -1
        self._width = RECORD_BYTES
        self._renewed_s = 0.0
        self._next = ""
        self._claimed = 0
        """Our last epoch, also once we have lost it."""
        self._note = ""
        self.note_changed = asyncio.Event()
        self.epoch = 0
        self.poll_every_s = POLL_EVERY_S
        self.renew_every_s = lease_s / 4

    def holds(self) -> bool:
        """True while we may send orders: our time runs, and no later epoch exists."""
        # os.access costs half of Path.exists: every send asks.
        return self.is_unexpired() and not os.access(self._next, os.F_OK)

    def is_unexpired(self) -> bool:
        """True while our time runs."""
        return bool(self.epoch) and boot_time_s() < self._renewed_s + self._lease_s * (1 - MARGIN_SHARE)

    async def acquire(self) -> float:
        """Try to become the owner: 0 on success, else seconds until the next attempt is worth it.

        Raises OSError: the directory cannot be used.
        """
        # Our own former lock would look like a live owner.
        await self.release()
        make_private_directory(self._directory)
        epoch, record = self._latest(), self._last()
        if (left_s := self._left_s(epoch, record)) > 0:
            return left_s
        self._note = record.note if record else ""
        return 0.0 if self._claim(epoch + 1) else self._lease_s / 4

    def _left_s(self, epoch: int, record: FileLeaseRecord | None) -> float:
        died = bool(epoch) and self._died(epoch)
        return wait_s(record, now_s=boot_time_s(), boot_id=self._boot_id, holder_died=died)

    def is_free(self) -> bool:
        """True if a successor need not wait."""
        return self._left_s(self._latest(), self._last()) == 0.0

    def quiet_s(self) -> float:
        """Seconds since the owner's last sign; without end where nobody has owned it since the machine's start."""
        record = self._last()
        return boot_time_s() - record.renewed_s if record and record.boot_id == self._boot_id else float("inf")

    def _claim(self, epoch: int) -> bool:
        # The lock first: whoever sees the lease file must find its owner alive.
        alive = os.open(self._file("alive", epoch), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        scratch = self._directory / f".lease.{os.getpid()}"
        handle = -1
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            renewed_s = boot_time_s()
            replace_file(scratch, self._record(epoch, renewed_s))
            handle = os.open(scratch, os.O_WRONLY | os.O_CLOEXEC)
            # link(2), not O_EXCL: the file appears with its content, and fails if another process was first.
            os.link(scratch, self._file("lease", epoch))
        except OSError as error:
            # Left open, the lock would look like a live owner to our own next attempt.
            for descriptor in (alive, handle):
                if descriptor >= 0:
                    os.close(descriptor)
            # Another process has the lock of this epoch, or has linked its file first.
            if isinstance(error, (BlockingIOError, FileExistsError)):
                return False
            raise
        finally:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
        self._alive, self._handle, self._renewed_s = alive, handle, renewed_s
        self.epoch = self._claimed = epoch
        self._next = str(self._file("lease", epoch + 1))
        with suppress(OSError):
            self._remove_old()
        return True

    async def renew(self) -> bool:
        """Extend the ownership; False if it is too late or another process has taken over."""
        if not self.holds():
            return False
        renewed_s = boot_time_s()
        try:
            # Not synced: a renewal that a loss of power takes back is worth nothing after the boot (boot_id).
            os.pwrite(self._handle, self._record(self.epoch, renewed_s), 0)
        except OSError:
            return self.holds()  # a volume that fails changes nothing until our deadline
        self._renewed_s = renewed_s
        return self.holds()

    async def release(self) -> None:
        """Give it up; the successor need not wait."""
        self.epoch = 0
        # Closing drops the lock: for a successor we are gone.
        for descriptor in (self._handle, self._alive):
            if descriptor >= 0:
                os.close(descriptor)
        self._alive = self._handle = -1

    def holder(self) -> str:
        """The owner, in words; NOBODY also where the last one was this process."""
        record = self._shown()
        if record is None or record.epoch == self._claimed:
            return NOBODY
        return f"{record.owner} (process {record.pid}, epoch {record.epoch})"

    def address(self) -> str:
        """`host:port` of the owner's order API."""
        record = self._shown()
        return record.address if record else ""

    async def refresh(self) -> None:
        """Nothing to read: the files are read whenever they are asked."""

    def note(self) -> str:
        """Handover note of the previous owner, or ours since."""
        return self._note

    def hand_over(self, note: str) -> None:
        """Keep a note for the next owner; the next renewal writes it."""
        self._note = note
        self.note_changed.set()

    def _shown(self) -> FileLeaseRecord | None:
        try:
            return self._last()
        except OSError:  # no descriptor left, or the volume fails
            return None

    def _last(self) -> FileLeaseRecord | None:
        epoch = self._latest()
        return self._read(epoch) if epoch else None

    def _record(self, epoch: int, renewed_s: float) -> bytes:
        record = FileLeaseRecord(
            owner=self._owner,
            epoch=epoch,
            pid=os.getpid(),
            boot_id=self._boot_id,
            renewed_s=renewed_s,
            lease_s=self._lease_s,
            address=self._address,
            note=self._note,
        )
        data = json.dumps(asdict(record)).encode()
        # Never shorter than before: the end of a longer record would stay behind it.
        self._width = max(self._width, len(data))
        return data.ljust(self._width)

    def _file(self, kind: str, epoch: int) -> Path:
        return self._directory / f"{kind}.{epoch}"

    def _latest(self) -> int:
        # The directory is the truth: names kept in memory would miss a rival's files.
        names = (path.name.removeprefix("lease.") for path in self._directory.glob("lease.*"))
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def _read(self, epoch: int) -> FileLeaseRecord | None:
        # An OSError passes through: an owner whose file we cannot read now may be well.
        try:
            raw = json.loads(_settled_bytes(self._file("lease", epoch)))
            # By our names: fields that a later version added are ignored.
            known = {field.name: raw[field.name] for field in fields(FileLeaseRecord) if field.name in raw}
            return FileLeaseRecord(**known)
        except (FileNotFoundError, ValueError, TypeError):
            return None  # a file that is gone or unreadable claims nothing; the lock alone decides

    def _died(self, epoch: int) -> bool:
        try:
            handle = os.open(self._file("alive", epoch), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(handle)

    def _remove_old(self) -> None:
        for kind in ("lease", "alive"):
            for path in self._directory.glob(f"{kind}.*"):
                number = path.name.removeprefix(f"{kind}.")
                # Not the newest ones: a paused owner of a late epoch still looks for the file of its successor.
                if number.isdecimal() and int(number) <= self.epoch - KEPT_EPOCHS:
                    with suppress(OSError):
                        path.unlink()
