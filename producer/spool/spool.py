"""The spool of a running process: every event is in it before `emit` returns, until the sidecar acknowledges it.

Promise
    An event that `emit` took survives the death of the process, however it dies. It need not survive the machine:
    nothing is synced, because a sync costs milliseconds on the path that emits; a program that may lose no fact to a
    loss of power keeps a journal of its own. The promise costs one copy of memory for an event.

Layout
    One directory for each session, that is, for each run of a producer (`producer.spool.format` has the bytes):

        <spool>/<session>/session                       producer, start, definitions of the event types; locked
        <spool>/<session>/00000000000000000001.spool    sealed segment: header, records, cut behind the last one
        <spool>/<session>/00000000000000004711.spool    current segment: header, records, zeros to its full size
        <spool>/<session>/spare                         next segment: allocated, mapped, its pages made

    The name of a segment is the sequence of its first event. No sequence is stored with an event: an event's
    sequence is that number plus its place, so the copy into the file is what numbers it.

Parts
    `SegmentWriter` has the current and the spare segment and their state (OPEN, FULL, MEMORY, CLOSED).
    `UnackedQueue` has all segments, the last acknowledged sequence, and the reader's cursor.
    `Spool` joins them: it owns the session's directory, counts drops, and retries a volume that failed.
    One lock, the queue's, guards all three.

Threads
    Any thread emits. While the writer is OPEN, `emit` calls `mmap.write` and nothing else. That is one call into C
    under the interpreter's lock: two threads cannot mix their records, and their order in the file is the sequence.
    When that call fails (end of the segment, or another state) the thread takes the queue's lock and `add` rolls
    on, finds memory, or refuses the event with a reason that is counted.

    The event loop's thread reads batches (`queue.after`), releases what is acknowledged (`queue.acknowledge`), and
    every 20 ms calls `maintain`, which does everything slow ahead of need: it allocates the next file, makes its
    pages, trims and closes sealed files. A roll is then a rename.

Bounds
    Files take at most `spool_bytes`, the current and the spare one at full size among them; the last part of them,
    `reserve_ratio`, takes reserved events only. Events beyond are dropped and counted as `spool_full`. If the volume
    fails (full, read-only, broken), events go to anonymous memory, bounded and reserved alike (`memory_full`), and
    are delivered from there; the volume is tried again every second. Memory dies with the process, so a condition
    says so.

A kill after each step leaves
    directory made                  no session file: the next process removes the directory
    session file written            no events: the next process removes the session
    `spare` or `next` allocated     a file that no reader looks at; it goes with the session
    file renamed to its sequence    a segment of a header and zeros: no events
    record copied in part           a length without a matching checksum: reading ends before it; its `emit` had not
                                    returned, and no other record follows, for copies happen one at a time
    definition of a late type       the old definitions, or all of them; the file is written over, because
                                    the lock belongs to the inode. Its first event is emitted only after that
    batch sent, not acknowledged    the next process opens a stream for the old session; the Welcome says how much the
                                    sidecar has in its journal, that is released, and the rest is sent again
    acknowledged, not unlinked      the same: the Welcome releases it
    The session's lock is the kernel's (flock(2)) and goes with the process, so `producer.spool.recovery` of the next
    one finds the directory free and delivers it.

Simpler things that do not do
    write(2): 0.9 µs where the copy takes 0.1 µs, and it lets go of the interpreter's lock, so that an emitting thread
    may wait for others to run. A buffer before it would be lost in a kill.
    SQLite: an event would be a transaction, several system calls and a lock of a file; transactions of many events
    would lose the last ones in a kill, which are those that explain it.
    A sparse file: the volume that has no block left shows itself as SIGBUS in the middle of an `emit`. Allocating
    first makes it an error when a segment is opened. A device that fails under a mapped page still ends the
    process; that is rare, and a condition of the machine.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from contextlib import suppress
from dataclasses import replace

from producer.health import EmitterLedger
from producer.settings import ProducerSettings
from producer.spool.format import SessionMeta, extend_session, lock_session, remove_session, write_session
from producer.spool.unacked_queue import UnackedQueue
from producer.spool.writer import SegmentWriter, WriterState
from telemetry_contract.v1 import telemetry_pb2 as pb

log = logging.getLogger(__name__)
# Name and reason of events that children of a fork emitted, in the ledger of the parent.
FORKED = ("", WriterState.FORKED.value)
# Name and reason of events whose file cannot be read: nobody knows their types.
DAMAGED = ("", "spool_damaged")
RETRY_INTERVAL_S = 1.0


class Spool:
    """Takes events and keeps them until they are acknowledged; bounded. Closed by `close`.

    Emitters call `writer.append` and, if that raises ValueError, `add`; the stream reads from `queue`.
    """

    def __init__(self, settings: ProducerSettings, meta: SessionMeta, reserved: frozenset[int]) -> None:
        self.directory = settings.spool_directory / meta.session_id
        self.queue = UnackedQueue(meta)
        self.writer = SegmentWriter(self.directory, settings, reserved, self.queue)
        self.dropped: Counter[tuple[str, str]] = Counter()
        self._lock_handle: int | None = None
        self._undefined = False
        """The session file lacks a definition."""
        self._retry_at_s = 0.0
        self._is_child = self._is_warned = False
        # A counter that children of a fork share with us (eventfd(2)): they add, we read.
        self._refused_in_children = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._retry_volume()

    @property
    def full(self) -> bool:
        """True if only reserved events are taken."""
        with self.queue.lock:
            return self.writer.full_locked

    def add(self, code: int, name: str, record: bytes) -> None:
        """Adds an event that `writer.append` did not take, or counts it as dropped."""
        with self.queue.lock:
            reason = self.writer.add_locked(code, record)
            if reason is not None:
                self.dropped[name, reason] += 1
        if reason == WriterState.FORKED.value:
            self._tell_parent()

    def _tell_parent(self) -> None:
        with suppress(BlockingIOError):  # the counter is full: 2^64 - 1
            os.eventfd_write(self._refused_in_children, 1)
        if not self._is_warned:
            self._is_warned = True
            log.warning("events of a forked process are refused", extra={"remedy": "make a Producer in the child"})

    def drop(self, name: str, reason: str) -> None:
        """Counts an event that was emitted and is not taken."""
        with self.queue.lock:
            self.dropped[name, reason] += 1

    def ledger(self) -> EmitterLedger:
        """Fate of every event so far, but for the sidecar's refusals."""
        queue = self.queue
        with queue.lock:
            self._count_children_locked()
            queue.recount_locked()
            last, held, damaged = queue.next_locked - 1, queue.held_locked, queue.damaged
            dropped, size = dict(self.dropped), self.writer.bytes_locked
        return EmitterLedger(
            # A damaged event has a sequence and was emitted once; it moves from acknowledged to dropped.
            emitted=last + sum(dropped.values()),
            acknowledged=last - held - damaged,
            held=held,
            spool_bytes=size,
            dropped=dropped | ({DAMAGED: damaged} if damaged else {}),
        )

    def _count_children_locked(self) -> None:
        if not self._is_child and self._refused_in_children >= 0:
            with suppress(BlockingIOError):  # nothing since the last time
                self.dropped[FORKED] += os.eventfd_read(self._refused_in_children)

    def forked(self) -> None:
        """Leaves the session to the parent, in a child of fork(2): its files, its lock, its counts."""
        self._is_child = True
        self.queue.forked()
        self.writer.forked()
        self.dropped.clear()
        if self._lock_handle is not None:
            os.close(self._lock_handle)
            self._lock_handle = None

    def define(self, item: pb.Define) -> None:
        """Writes the meaning of a further event id, before the first event of it.

        If the session file cannot be extended, events go on in memory: a successor could not read them.
        """
        with self.queue.lock:
            self.queue.meta = replace(self.queue.meta, defines=(*self.queue.meta.defines, item))
            self._undefined = True
            try:
                self._extend_session()
            except OSError as error:
                self.writer.fail_locked(error)

    def maintain(self, now_s: float) -> bool:
        """Prepares the next segment and tries a failed volume; True if there was something to prepare.

        Called often, by a clock that never goes back.
        """
        was_busy = self.writer.maintain()
        if self.writer.state is WriterState.MEMORY and now_s >= self._retry_at_s:
            self._retry_at_s = now_s + RETRY_INTERVAL_S
            self._retry_volume()
        return was_busy

    def _retry_volume(self) -> None:
        with self.queue.lock:
            try:
                self._claim_directory()
                self.writer.reopen_locked()
            except OSError as error:
                self.writer.fail_locked(error)

    def _claim_directory(self) -> None:
        if self._lock_handle is None:
            self.directory.mkdir(parents=True, mode=0o700, exist_ok=True)
            write_session(self.directory, self.queue.meta)
            self._lock_handle = lock_session(self.directory)
            if self._lock_handle is None:  # a successor of somebody else takes the new session for a dead one's
                raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
            self._undefined = False
        self._extend_session()

    def _extend_session(self) -> None:
        if self._undefined and self._lock_handle is not None:
            extend_session(self.directory, self.queue.meta)
            self._undefined = False

    def close(self) -> None:
        """Takes nothing more. Events that are held stay in their files for the next process; without any, they go."""
        with self.queue.lock:
            self.writer.close_locked()
            self._count_children_locked()
            if not self._is_child and self._refused_in_children >= 0:
                os.close(self._refused_in_children)
                self._refused_in_children = -1
        if self._lock_handle is not None:
            if not self.queue.held:
                remove_session(self.directory)
            os.close(self._lock_handle)
            self._lock_handle = None
