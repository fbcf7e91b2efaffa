"""The spool's files: one directory a session, with a file that says whose it is and segments of events.

    <spool>/<session id>/session             producer, start, resource, and the definitions of its event types
    <spool>/<session id>/<sequence>.spool    events from that sequence on, one record each

Both are framed as `pod_runtime.framing` says. A record of a segment is a row in `marshal`'s version 2: event id,
time in nanoseconds, trace context or None, then the fields. `marshal` is the fastest encoder that CPython has for
plain values, and its version 2 has been stable since Python 2.5; only our own files are ever read with it, for
`marshal.loads` trusts its input.

The process that holds the lock (flock(2)) of the session file owns the directory. The kernel drops the lock when
the process dies, however it dies; a file with a process id would have to be judged.
"""

from __future__ import annotations

import fcntl
import json
import marshal
import mmap
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pod_runtime.atomic_file import replace_file
from pod_runtime.framing import RECORD_HEADER_BYTES, FormatError, file_header, file_version, frame, records
from telemetry_contract.v1 import telemetry_pb2 as pb

# An event as the spool holds it: event id, time in nanoseconds, trace context or None, then its fields.
Row = tuple[Any, ...]
FIXED_COLUMNS = 3

VERSION = 1
SEGMENT_KIND = b"TSPL"
SESSION_KIND = b"TSES"
SESSION_FILE = "session"
SUFFIX = ".spool"
MARSHAL_VERSION = 2
_length = struct.Struct("<I").unpack_from
# Head of a list in `marshal`; its items follow.
_list_head = struct.Struct("<cI").pack


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMeta:
    """Producer and event types of a directory: enough for a successor of another version to deliver its events."""

    producer_id: str
    session_id: str
    started_ns: int
    resource: tuple[tuple[str, str], ...]
    defines: tuple[pb.Define, ...]


def write_session(directory: Path, meta: SessionMeta) -> None:
    """Writes the session file. Raises OSError if the volume is full, read-only or broken."""
    # Not durable: after a loss of power the segments, which nobody syncs, would be missing as well.
    replace_file(directory / SESSION_FILE, _session_bytes(meta), durable=False)


def extend_session(directory: Path, meta: SessionMeta) -> None:
    """Writes the definitions that `meta` has beyond the session file, or raises OSError as `write_session` does."""
    # The file keeps its inode, for its lock is held. The old content is written over itself with the same bytes, so a
    # kill at any byte leaves a file that can be read: the old definitions, and behind them a record that is cut.
    with (directory / SESSION_FILE).open("r+b", buffering=0) as file:
        data = memoryview(_session_bytes(meta))
        while data:
            data = data[file.write(data) :]
        file.truncate()


def _session_bytes(meta: SessionMeta) -> bytes:
    about = {
        "producer_id": meta.producer_id,
        "session_id": meta.session_id,
        "started_ns": meta.started_ns,
        "resource": dict(meta.resource),
    }
    payloads = [json.dumps(about).encode(), *(item.SerializeToString(deterministic=True) for item in meta.defines)]
    return file_header(SESSION_KIND, VERSION) + b"".join(map(frame, payloads))


def read_session(directory: Path) -> SessionMeta:
    """Reads the session file; OSError if that fails, FormatError if it is cut, damaged or of another version."""
    data = (directory / SESSION_FILE).read_bytes()
    _known_version(data, SESSION_KIND)
    payloads = [record.payload for record in records(data)]
    try:
        about = json.loads(payloads[0])
        return SessionMeta(
            producer_id=str(about["producer_id"]),
            session_id=str(about["session_id"]),
            started_ns=int(about["started_ns"]),
            resource=tuple(sorted(about["resource"].items())),
            defines=tuple(map(pb.Define.FromString, payloads[1:])),
        )
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise FormatError(f"session file of {len(data)} bytes names no producer: {error!r}") from error


def _known_version(data: bytes, kind: bytes) -> None:
    version = file_version(data, kind)
    if version != VERSION:
        raise FormatError(f"spool version {version}; this program reads {VERSION}")


def lock_session(directory: Path) -> int | None:
    """Takes the session's lock: a handle to close, or None where a living process has it. May raise OSError."""
    handle = os.open(directory / SESSION_FILE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return handle


def segment_path(directory: Path, first: int) -> Path:
    """Path of the segment that begins with sequence `first`."""
    return directory / f"{first:020d}{SUFFIX}"


def segment_paths(directory: Path) -> list[tuple[int, Path]]:
    """The segments of a session by their first sequences, ascending."""
    return sorted((int(path.stem), path) for path in directory.glob("*" + SUFFIX) if path.stem.isdecimal())


def encode_row(row: Row) -> bytes:
    """The record of a row. Raises ValueError if a field is not text, number, boolean or None."""
    return frame(marshal.dumps(row, MARSHAL_VERSION))


def count_mapped_rows(data: mmap.mmap, start: int) -> tuple[int, int]:
    """Number of rows from `start` on in a mapping that we write, and their end: zeros follow the last one."""
    count, room = 0, len(data) - RECORD_HEADER_BYTES
    while start <= room and (length := _length(data, start)[0]):
        start += RECORD_HEADER_BYTES + length
        count += 1
    return count, start


def skip_rows(data: mmap.mmap, start: int, count: int) -> int:
    """Place in a mapping behind `count` rows from `start` on."""
    for _ in range(count):
        start += RECORD_HEADER_BYTES + _length(data, start)[0]
    return start


def read_mapped_rows(data: mmap.mmap, start: int, limit: int) -> tuple[list[Row], int]:
    """Up to `limit` rows of a mapping that we write, from `start` on, and their end."""
    parts: list[bytes] = []
    room = len(data) - RECORD_HEADER_BYTES
    while len(parts) < limit and start <= room and (length := _length(data, start)[0]):
        content = start + RECORD_HEADER_BYTES
        start = content + length
        parts.append(data[content:start])
    # One call for all rows, as if they had been dumped as one list: half the time of a call for each.
    rows: list[Row] = marshal.loads(_list_head(b"[", len(parts)) + b"".join(parts))  # noqa: S302 - we wrote it
    return rows, start


def read_checked_rows(data: bytes, start: int, limit: int) -> tuple[list[Row], int]:
    """Up to `limit` rows of a file from `start` on, up to the first that is cut or damaged, and their end."""
    rows: list[Row] = []
    for record in islice(records(data, start), limit):
        try:
            rows.append(marshal.loads(record.payload))  # noqa: S302 - our own volume's file, its sum was right
        except (ValueError, EOFError, TypeError):
            break  # whole by its checksum, and still no row: a bug of the writer's version
        start = record.end
    return rows, start


def count_whole_rows(data: bytes) -> int:
    """Number of rows of a segment file that can be read; 0 if its header is cut or of another version."""
    try:
        _known_version(data, SEGMENT_KIND)
    except FormatError:
        return 0
    return sum(1 for _ in records(data))


def remove_session(directory: Path) -> None:
    """Removes a session's files, the session file last; what cannot be removed stays."""
    # Killed in between, the next process finds a session of fewer events, or one without any, and goes on here.
    with suppress(OSError):
        for path in sorted(directory.iterdir(), key=lambda path: path.name == SESSION_FILE):
            path.unlink()
        directory.rmdir()
