"""The order journal: append-only segments of framed records, one directory an account.

Layout
    <directory>/<position>.journal      20 digits; position of the segment's first record
    <directory>/<position>.torn         unreadable end of a segment, set aside at a start
    <directory>/<position>.new          segment that is not finished; a start ignores it

    segment = header "OJRN" version 1, then records (pod_runtime.files.framing: length, CRC-32, payload)
            = snapshot (s…, b, k…, t…, z), then appended records (o, t, c, k)
    record  = one letter for the kind, then JSON; decimals are texts, and fields at their default are left out
              o  an order at a new status            (a change: the history reads it)
              t  a transaction of the venue's log    (a change)
              c  the account's control state
              s  an order of a snapshot              (at the head of a segment; no change)
              b  the open trades of a snapshot
              k  an operation under a key of its own (in a snapshot, too; no change)
              z  end of a snapshot, with the control state
              A later version may add kinds; a reader passes over those that it does not know.

    Positions count all records of all segments, snapshots included, and never repeat. `append` returns the position
    behind its record, so "wait until position p is on the disk" and "history has everything before p" are one number.
    A start reads the newest segment only, since its snapshot holds every order that is still known.

Two promises, two moments
    `append` returns        the record is in the page cache: a kill of the process loses nothing
    `wait_synced` returns   the record is on the disk: a loss of power loses nothing

    An intent waits for the second before its request goes out: otherwise a machine that lost power in between would
    not know the order, and its caller's retry could be sent twice. An outcome does not wait: if its record is lost, a
    restart finds it in the venue's log again.

Threads
    The event loop writes (`os.write` into the page cache, microseconds). One thread, `order-journal`, calls
    fdatasync(2) and closes descriptors, in the order asked, so the loop never waits for the disk. One sync runs at a
    time and covers all records written before it began; whoever comes meanwhile shares the next (group commit).
    One thread and a plain queue, no executor: the handover is on the path of each order (60 µs against 130 µs).

A failed sync
    Linux may drop dirty pages after a failed fsync and report success for the next one (Rebello et al., "Can
    Applications Recover from fsync Failures?", USENIX ATC 2020). So a failure is final for the segment: `failure` is
    set, all waiters get OrderJournalError, `append` refuses, and no order is sent (JOURNAL_UNAVAILABLE). The next
    order, or the next sample, tries `rotate`: a new file with a snapshot from memory, synced before it counts.

A full volume
    `append`: a short or failed write is undone by ftruncate(2) and raises; `refusal` says why. The segment stays good,
    the caller gets 503 and may send the order again, nothing was sent; appends succeed as soon as there is space. A
    write that cannot be undone is a failure, as above. `rotate` leaves the old segment in use if it cannot write the
    new one. An outcome that cannot be written is applied in memory all the same, for it is so at the venue. The store
    writes it when the volume takes records again; after a kill the next start reads it from the venue's log.

Rotation
    At `segment_bytes`, at each start and after a failure. A crash after each step leaves:
      1. write `.new`                  the old segment is the newest; `.new` is ignored and overwritten
      2. fsync `.new`                  the same
      3. rename to `.journal`          either segment is the newest, and both are complete
      4. fsync the directory           the new segment is the newest. If the sync fails, or cannot begin, that is a
                                       failure of the new segment: it has its name, and the old one is read no more
      5. retire the old descriptor     the sync thread closes it behind the syncs that were asked for
    At each start, too: a predecessor that was paused and still holds its descriptor then writes into a segment that
    nobody reads any more (see ownership/leadership.py on fencing).

Release
    The history reads behind (`tail.changes`) and calls `release(position)`. Rotation removes segments whose records
    are all released, but for the newest two. Beyond `keep_bytes` it removes the oldest anyway and counts them in
    `discarded`: an order path that stopped because its archive is down would be the greater harm, and the venue's log
    still has those transactions.

A torn end
    A write can be cut by a loss of power. The bytes behind the last whole record go to `.torn` and are cut off, so
    that the next append does not follow garbage. An unreadable record elsewhere ends what a start reads, in the same
    way.

Why not SQLite: the order path needs one append and one fdatasync an order, a start one sequential read. Neither needs
an index, a query or a second file that must be in step with the first. Old versions are golden files in the tests.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any, NamedTuple, Self
from zlib import crc32

import msgspec

from broker.events.orders import JournalSync
from broker.orders.model.lifecycle import OrderRecord
from broker.orders.model.operations import OperationRecord
from broker.orders.model.trading_state import AccountControl
from broker.orders.settings import OrderSettings
from broker.orders.store.trade_book import TradeBookState
from broker.venue.v20.wire_json import read_json, write_json
from pod_runtime.files.atomic_file import create_file, fsync_directory, make_private_directory, replace_file
from pod_runtime.files.framing import HEADER_BYTES, FormatError, file_header, file_version, frame, records
from producer.emitter import Emit

KIND = b"OJRN"
VERSION = 1
ORDER, TRANSACTION, CONTROL, OPERATION = b"o", b"t", b"c", b"k"
SNAPSHOT_ORDER, SNAPSHOT_TRADES, SNAPSHOT_END = b"s", b"b", b"z"

_ENCODER = msgspec.json.Encoder()
_ORDER = msgspec.json.Decoder(OrderRecord)
_CONTROL = msgspec.json.Decoder(AccountControl)
_TRADES = msgspec.json.Decoder(TradeBookState)
_OPERATION = msgspec.json.Decoder(OperationRecord)


def encode_order(record: OrderRecord, kind: bytes = ORDER) -> bytes:
    """Payload of an order."""
    return kind + _ENCODER.encode(record)


def encode_transaction(raw: Mapping[str, Any]) -> bytes:
    """Payload of a transaction, as the venue sent it."""
    return TRANSACTION + write_json(raw)


def encode_control(control: AccountControl, kind: bytes = CONTROL) -> bytes:
    """Payload of the control state."""
    return kind + _ENCODER.encode(control)


def encode_trades(state: TradeBookState) -> bytes:
    """Payload of the open trades."""
    return SNAPSHOT_TRADES + _ENCODER.encode(state)


def encode_operation(record: OperationRecord) -> bytes:
    """Payload of an operation under a key of its own."""
    return OPERATION + _ENCODER.encode(record)


Content = OrderRecord | AccountControl | OperationRecord | TradeBookState | dict[str, Any] | None


def decode_payload(payload: bytes) -> tuple[bytes, Content]:
    """Kind and content; the content of a kind that this version does not know is None.

    Raises ValueError: the payload is not what its kind says. The message never quotes it.
    """
    kind, text = payload[:1], payload[1:]
    try:
        if kind in {ORDER, SNAPSHOT_ORDER}:
            return kind, _ORDER.decode(text)
        if kind in {CONTROL, SNAPSHOT_END}:
            return kind, _CONTROL.decode(text)
        if kind == SNAPSHOT_TRADES:
            return kind, _TRADES.decode(text)
        if kind == OPERATION:
            return kind, _OPERATION.decode(text)
        if kind == TRANSACTION:
            value = read_json(text)
            return kind, value if isinstance(value, dict) else None
    except msgspec.DecodeError as error:
        raise ValueError(f"journal record {kind!r} of {len(payload)} bytes: {error}") from error
    return kind, None


SUFFIX = ".journal"
CLOSE_S = 5.0
"""Longest wait for the disk when the journal is closed."""
_MARK = re.compile(r"([1-9][0-9]{0,17})-([0-9a-f]{8})", re.ASCII)
SyncDone = Callable[[OSError | None, float], None]


class OrderJournalError(Exception):
    """The journal cannot write or sync; no order may be sent that is not in it."""


@dataclass(frozen=True, slots=True)
class OrderSegment:
    """A file of the journal and the position of its first record."""

    path: Path
    first: int


def segments(directory: Path) -> list[OrderSegment]:
    """Segments of a directory, oldest first."""
    found = [path for path in directory.glob(f"*{SUFFIX}") if path.stem.isdecimal()]
    return sorted((OrderSegment(path, int(path.stem)) for path in found), key=lambda item: item.first)


class JournalMark(NamedTuple):
    """Place behind a record: its position, and the CRC-32 that shows that the record is still the same."""

    position: int
    crc: int

    def __str__(self) -> str:
        return f"{self.position}-{self.crc:08x}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` made; anything else is a mark that no journal has."""
        found = _MARK.fullmatch(text)
        return cls(int(found[1]), int(found[2], 16)) if found is not None else cls(0, 0)


class DiskSyncer:
    """Thread that syncs and closes descriptors, one after the other. `close` ends it when its queue is empty."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # Daemon: a disk that hangs must not keep the process from ending.
        self._thread = Thread(target=self._run, name="order-journal", daemon=True)
        self._started = False

    def sync(self, descriptor: int, done: SyncDone) -> None:
        """Sync the file's data (fdatasync(2)); the event loop calls `done` with the error, if any, and the seconds.

        The descriptor stays open until then: only `retire` closes it.
        """
        loop = asyncio.get_running_loop()
        self._enqueue(lambda: _sync(descriptor, loop, done))

    def retire(self, descriptor: int) -> None:
        """Close a descriptor behind the syncs that were asked for."""
        self._enqueue(lambda: _close(descriptor))

    def close(self) -> None:
        """Let the thread end."""
        self._queue.put(None)

    def _enqueue(self, work: Callable[[], None]) -> None:
        # At first use: a journal that is only opened has no thread.
        if not self._started:
            self._thread.start()
            self._started = True
        self._queue.put(work)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()


def _sync(descriptor: int, loop: asyncio.AbstractEventLoop, done: SyncDone) -> None:
    started, fault = perf_counter(), None
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        fault = error
    with suppress(RuntimeError):  # the loop is closed: the process ends, and nobody waits any more
        loop.call_soon_threadsafe(done, fault, perf_counter() - started)


def _close(descriptor: int) -> None:
    with suppress(OSError):  # the sync before it has reported what the volume could not write
        os.close(descriptor)


class OrderJournal:
    """One process's journal in `directory`. The caller opens it, rotates it when it `is_full`, and closes it."""

    def __init__(self, directory: Path, settings: OrderSettings, emit: Emit) -> None:
        self.directory = directory
        self._settings = settings
        self._emit = emit
        self._descriptor = -1
        self._size = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._syncing = False
        self._syncer = DiskSyncer()
        self._last = b""
        """The last record."""
        self.reading = asyncio.Lock()
        """Held while a part of the journal is read for an event stream."""
        self.grown = asyncio.Event()
        """Set at each append; a reader clears it before it reads."""
        self.written = 0
        """Position behind the last record."""
        self.synced = 0
        """Records before this position are on the disk."""
        self.released = 0
        self.discarded = 0
        """Segments removed before the history released them."""
        self.damaged_bytes = 0
        """Unreadable bytes at the end of the newest segment at `open`, set aside in a `.torn` file."""
        self.failure: str | None = None
        """Reason why nothing is taken before `rotate`."""
        self.refusal: str | None = None
        """Reason why the last record was refused; the next one may be taken."""
        self.is_closed = False

    def open(self) -> list[bytes]:
        """Open the newest segment for appending; its records, snapshot first.

        Raises:
            OSError: the directory cannot be used.
            FormatError: the newest segment is of a version that this program does not read.
        """
        make_private_directory(self.directory)
        found = segments(self.directory)
        if not found:
            return []
        newest = found[-1]
        data = newest.path.read_bytes()
        if (version := file_version(data, KIND)) != VERSION:
            raise FormatError(f"{newest.path}: version {version}; this program reads {VERSION}")
        found_records = list(records(data))
        end = found_records[-1].end if found_records else HEADER_BYTES
        self._descriptor = os.open(newest.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._cut(newest.path, data, end)
        self._size = end
        self._last = found_records[-1].payload if found_records else b""
        self.written = self.synced = newest.first + len(found_records)
        return [record.payload for record in found_records]

    def _cut(self, path: Path, data: bytes, end: int) -> None:
        if len(data) > end:
            self.damaged_bytes = len(data) - end
            replace_file(path.with_suffix(".torn"), data[end:])
            os.ftruncate(self._descriptor, end)

    @property
    def mark(self) -> JournalMark:
        """Place behind the last record."""
        return JournalMark(self.written, crc32(self._last))

    @property
    def is_full(self) -> bool:
        """True if the next segment is due."""
        return self._descriptor < 0 or self._size >= self._settings.segment_bytes

    def append(self, payload: bytes) -> int:
        """Write a record; the position behind it.

        Raises OrderJournalError: the volume failed; the record is not in the journal.
        """
        if self.failure is not None:
            raise OrderJournalError(self.failure)
        data = frame(payload)
        try:
            count = os.write(self._descriptor, data)
            if count < len(data):
                raise OSError(f"only {count} of {len(data)} bytes written")  # noqa: TRY301 - undone below
        except OSError as error:
            self.refusal = f"order journal: {error}"
            # Without the cut the next record would follow half a one, and a start would read neither.
            try:
                os.ftruncate(self._descriptor, self._size)
            except OSError:
                self.failure = self.refusal
            raise OrderJournalError(self.refusal) from error
        self.refusal = None
        self._size += len(data)
        self._last = payload
        self.written += 1
        self.grown.set()
        return self.written

    async def wait_synced(self, position: int) -> None:
        """Wait until the records before `position` are on the disk.

        Raises OrderJournalError: the sync failed; the segment's content is uncertain until `rotate`.
        """
        if position <= self.synced:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((position, done))
        self.begin_sync()
        await done

    def begin_sync(self) -> None:
        """Start a sync of the records written so far, unless one is running."""
        if not self._syncing and self.synced < self.written:
            self._sync()

    def _sync(self) -> None:
        self._syncing = True
        target = self.written  # records that are appended while the sync runs may be covered, but are not known to be
        self._syncer.sync(self._descriptor, lambda fault, duration_s: self._done(target, fault, duration_s))

    def _done(self, target: int, fault: OSError | None, duration_s: float) -> None:
        self._syncing = False
        if fault is not None:
            self._fail(f"order journal: fdatasync: {fault}")
            return
        self._reached(target)
        self._emit(JournalSync(duration_s=duration_s))
        # Group commit: whoever came while the disk was busy shares the next sync.
        if self._waiting:
            self._sync()

    def _reached(self, position: int) -> None:
        self.synced = max(self.synced, position)
        due = [future for at, future in self._waiting if at <= self.synced]
        self._waiting = [(at, future) for at, future in self._waiting if at > self.synced]
        for future in due:
            if not future.done():
                future.set_result(None)

    def _fail(self, reason: str) -> None:
        self.failure = reason
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(OrderJournalError(reason))

    def rotate(self, snapshot: Iterable[bytes]) -> None:
        """Begin a new segment with a snapshot, synced before it counts. Ends the failure of a failed journal.

        Raises OrderJournalError: the volume failed; the old segment stays in use.
        """
        payloads = list(snapshot)
        path = self.directory / f"{self.written:020d}{SUFFIX}"
        scratch = path.with_suffix(".new")
        data = b"".join([file_header(KIND, VERSION), *map(frame, payloads)])
        descriptor = -1
        try:
            # In a scratch file: half a snapshot must never bear a segment's name.
            scratch.unlink(missing_ok=True)
            descriptor = create_file(scratch, data)
            os.fsync(descriptor)
            scratch.rename(path)
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            raise OrderJournalError(f"order journal: {error}") from error
        if self._descriptor >= 0:
            self._syncer.retire(self._descriptor)
        self._descriptor, self._size = descriptor, len(data)
        self.written += len(payloads)
        self._last = payloads[-1]
        self.failure = self.refusal = None
        self.grown.set()
        try:
            fsync_directory(self.directory)
        except OSError as error:
            self._fail(words := f"order journal: {error}")
            raise OrderJournalError(words) from error
        self._reached(self.written)  # whoever waits for a record of the old segment: the snapshot holds its order
        # What cannot be removed now goes with the next rotation.
        with suppress(OSError):
            self._remove_old()

    def release(self, position: int) -> None:
        """Let the records before `position` go: the history has them."""
        self.released = max(self.released, position)

    def _remove_old(self) -> None:
        found = segments(self.directory)
        total = sum(item.path.stat().st_size for item in found)
        for item, successor in pairwise(found):
            # Positions rise with the segments: the first one that must stay ends the search.
            is_released = successor.first <= self.released
            # The last but one is kept for readers of event streams that were away for a moment.
            if total <= self._settings.keep_bytes and (not is_released or successor is found[-1]):
                return
            total -= item.path.stat().st_size
            self.discarded += not is_released
            item.path.unlink()

    async def close(self) -> None:
        """Sync and close. Nothing may be appended after it; readers of `tail.changes` come to their end."""
        try:
            # A disk that fails or hangs must not hold back the next term, or the process's end; the next start reads
            # what is there.
            with suppress(OrderJournalError, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self.wait_synced(self.written)
        # A caller that is cancelled meanwhile leaves neither a descriptor nor a thread behind.
        finally:
            if self._descriptor >= 0:
                self._syncer.retire(self._descriptor)
                self._descriptor = -1
            self._syncer.close()
            self.is_closed = True
            self.grown.set()
