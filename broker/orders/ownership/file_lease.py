"""Who may trade the account on one machine, through files; `cluster_lease` is the same in a cluster.

A taking has a number, the epoch, and a file `lease.<epoch>` that its owner renews. Taking is the exclusive
creation of the next file, so that two cannot win. An owner whose lease ran out, or that sees a later epoch,
stops before it sends: after a SIGSTOP it wakes up fenced. An owner that died is told from a paused one by a
lock that dies with it (flock(2)), and is followed at once; a paused one is waited out.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from broker.orders.ownership.lease import MARGIN_SHARE, boot_time_s
from pod_runtime.atomic_file import replace_file

KEPT_EPOCHS = 8
LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """What a lease file says."""

    owner: str
    epoch: int
    pid: int
    boot_id: str
    renewed_s: float
    """CLOCK_BOOTTIME, which goes on while the machine or the process is suspended."""
    lease_s: float
    address: str = ""
    """`host:port` of the owner's order API."""
    note: str = ""
    """What the owner hands on."""


def _record_of(raw: dict[str, Any]) -> LeaseRecord:
    """The record that a lease file holds; what a later version added is let through."""
    return LeaseRecord(**{field.name: raw[field.name] for field in fields(LeaseRecord) if field.name in raw})


def wait_s(record: LeaseRecord | None, *, now_s: float, boot_id: str, holder_died: bool) -> float:
    """How long a successor must wait; 0 is take it now."""
    if record is None or holder_died or record.boot_id != boot_id:
        return 0.0
    return max(0.0, record.renewed_s + record.lease_s * (1 + MARGIN_SHARE) - now_s)


def boot_id() -> str:
    """Changes with every boot; on a system without one, empty."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class FileLease:
    """The taking of an account through files in `directory`. `release` it."""

    def __init__(self, directory: Path, *, owner: str, lease_s: float, address: str = "") -> None:
        self._directory = directory
        self._owner = owner
        self._address = address
        self._lease_s = lease_s
        self._boot_id = boot_id()
        self._alive = -1
        self._renewed_s = 0.0
        self._next = ""
        self._note = ""
        self.epoch = 0
        """Of our taking; 0 is none."""

    @property
    def look_every_s(self) -> float:
        """How often to look: a file costs nothing."""
        return LOOK_EVERY_S

    @property
    def renew_every_s(self) -> float:
        """How often to renew."""
        return self._lease_s / 4

    def holds(self) -> bool:
        """Whether we may send now. Cheap enough to ask before every send."""
        return self.is_in_time() and not os.access(self._next, os.F_OK)  # half of Path.exists's cost

    def is_in_time(self) -> bool:
        """Whether our lease runs: enough for our own files, of which a successor begins new ones."""
        return bool(self.epoch) and boot_time_s() < self._renewed_s + self._lease_s * (1 - MARGIN_SHARE)

    def is_wanted(self) -> bool:
        """Always: whoever has it keeps it."""
        return True

    async def take(self) -> float:
        """Tries to become the owner: 0 where we are, else seconds until it is worth trying again.

        Raises:
            OSError: the directory cannot be used.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self.release()
        epoch, record = self._latest(), self._last()
        if (left_s := self._left_s(epoch, record)) > 0:
            return left_s
        self._note = record.note if record else ""
        return 0.0 if self._claim(epoch + 1) else self._lease_s / 4

    def _left_s(self, epoch: int, record: LeaseRecord | None) -> float:
        died = bool(epoch) and self._died(epoch)
        return wait_s(record, now_s=boot_time_s(), boot_id=self._boot_id, holder_died=died)

    def is_free(self) -> bool:
        """Whether a successor need not wait."""
        return self._left_s(self._latest(), self._last()) == 0.0

    def _claim(self, epoch: int) -> bool:
        alive = os.open(self._file("alive", epoch), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        scratch = self._directory / f".lease.{os.getpid()}"
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            renewed_s = boot_time_s()
            replace_file(scratch, self._record(epoch, renewed_s))
            os.link(scratch, self._file("lease", epoch))
        except (BlockingIOError, FileExistsError):
            os.close(alive)
            return False
        finally:
            scratch.unlink(missing_ok=True)
        self._alive, self.epoch, self._renewed_s = alive, epoch, renewed_s
        self._next = str(self._file("lease", epoch + 1))
        self._tidy()
        return True

    async def renew(self) -> bool:
        """Goes on owning; False where it is too late or another has taken over."""
        if not self.holds():
            return False
        renewed_s = boot_time_s()
        try:
            replace_file(self._file("lease", self.epoch), self._record(self.epoch, renewed_s), durable=False)
        except OSError:
            return self.holds()
        self._renewed_s = renewed_s
        return self.holds()

    async def release(self) -> None:
        """Gives it up; the successor need not wait."""
        self.epoch = 0
        if self._alive >= 0:
            os.close(self._alive)
            self._alive = -1

    def holder(self) -> str:
        """Who owns it, in words."""
        record = self._last()
        return f"{record.owner} (process {record.pid}, epoch {record.epoch})" if record else "nobody"

    def address(self) -> str:
        """Where the order API of who owns it is."""
        record = self._last()
        return record.address if record else ""

    async def look(self) -> None:
        """The files say it at any time."""

    def note(self) -> str:
        """What the owner before handed on, or we since."""
        return self._note

    def hand_on(self, note: str) -> None:
        """Keeps a text for whoever comes after us, from the next renewal on."""
        self._note = note

    def _last(self) -> LeaseRecord | None:
        epoch = self._latest()
        return self._read(epoch) if epoch else None

    def _record(self, epoch: int, renewed_s: float) -> bytes:
        record = LeaseRecord(
            owner=self._owner,
            epoch=epoch,
            pid=os.getpid(),
            boot_id=self._boot_id,
            renewed_s=renewed_s,
            lease_s=self._lease_s,
            address=self._address,
            note=self._note,
        )
        return json.dumps(asdict(record)).encode()

    def _file(self, kind: str, epoch: int) -> Path:
        return self._directory / f"{kind}.{epoch}"

    def _latest(self) -> int:
        names = (path.name.removeprefix("lease.") for path in self._directory.glob("lease.*"))
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def _read(self, epoch: int) -> LeaseRecord | None:
        """None where the file is unreadable: then nobody's claim can be told, and the lock decides alone."""
        try:
            return _record_of(json.loads(self._file("lease", epoch).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

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

    def _tidy(self) -> None:
        for kind in ("lease", "alive"):
            for path in self._directory.glob(f"{kind}.*"):
                number = path.name.removeprefix(f"{kind}.")
                if number.isdecimal() and int(number) <= self.epoch - KEPT_EPOCHS:
                    with suppress(OSError):
                        path.unlink()
