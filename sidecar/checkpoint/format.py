"""The checkpoint: everything that a replay of the journal starts from, in one file that is replaced in one step.

A file of version 1 is framed; each record is a JSON array. The first is the head, the others are the rows of
the aggregate. JSON keeps every double and every integer exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pod_runtime.framing import FormatError, file_header, file_version, frame, records
from sidecar.metrics.capture import Capture
from sidecar.telemetry.model import Position

KIND = b"TELC"
VERSION = 1
FILE = "checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """How far a session of a producer has been taken."""

    producer_id: str
    session_id: str
    durable_through: int
    touched_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state up to `position`, with the log cursor and the ledger of the same moment."""

    position: Position = Position()
    instance_id: str = ""
    next_stream: int = 1
    sessions: Sequence[SessionRow] = ()
    counts: dict[str, Any] | None = None
    backlog: dict[str, Any] | None = None
    aggregate: Sequence[Sequence[Any]] = field(default=())


def slices(checkpoint: Checkpoint) -> Iterator[bytes]:
    """The file, in parts small enough to be made between other work."""
    head = {
        "position": [checkpoint.position.segment, checkpoint.position.offset],
        "instance_id": checkpoint.instance_id,
        "next_stream": checkpoint.next_stream,
        "sessions": [
            [row.producer_id, row.session_id, row.durable_through, row.touched_ns] for row in checkpoint.sessions
        ],
        "counts": checkpoint.counts,
        "backlog": checkpoint.backlog,
        "rows": len(checkpoint.aggregate),
    }
    yield file_header(KIND, VERSION) + _frame(head)
    for row in checkpoint.aggregate:
        yield from _row(row)


def encode(checkpoint: Checkpoint) -> bytes:
    """The whole file."""
    return b"".join(slices(checkpoint))


def _row(row: Sequence[Any]) -> Iterator[bytes]:
    """The record of a row of the aggregate, behind as many empty parts as it takes turns."""
    texts: list[str] = []
    for value in row:
        if isinstance(value, Capture):
            rows: list[str] = []
            for part in value.parts():
                rows.append(_json(part)[1:-1])
                yield b""
            texts.append(f"[{','.join(rows)}]")
        else:
            texts.append(_json(value))
    yield frame(f"[{','.join(texts)}]".encode())


def _frame(value: Any) -> bytes:
    return frame(_json(value).encode())


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def decode(data: bytes) -> Checkpoint:
    """The checkpoint of a file.

    Raises:
        FormatError: the file is damaged, of another kind, or of a version that is not read here.
    """
    version = file_version(data, KIND)
    if version != VERSION:
        raise FormatError(f"checkpoint of version {version}; this program reads {VERSION}")
    head, *rows = [json.loads(record.payload) for record in records(data)] or [{}]
    if len(rows) != head.get("rows"):
        raise FormatError(f"checkpoint with {len(rows)} rows, its head says {head.get('rows')}")
    return Checkpoint(
        position=Position(*head["position"]),
        instance_id=head["instance_id"],
        next_stream=head["next_stream"],
        sessions=[
            SessionRow(producer_id=row[0], session_id=row[1], durable_through=row[2], touched_ns=row[3])
            for row in head["sessions"]
        ],
        counts=head["counts"],
        backlog=head["backlog"],
        aggregate=rows,
    )
