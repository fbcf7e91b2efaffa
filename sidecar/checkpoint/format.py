"""Format of the checkpoint: one framed file, replaced in one step.

Each record of version 1 is JSON: first the head, an object; then the rows of the aggregate, an array each. JSON
keeps every double and every integer exactly, and an operator can read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pod_runtime.files.framing import FormatError, file_header, file_version, frame, records
from sidecar.metrics.series import SeriesCapture
from sidecar.telemetry.model import JournalPosition

KIND = b"TELC"
VERSION = 1
FILE = "checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """State up to `position`, with the log cursor and the ledger of the same moment."""

    position: JournalPosition = JournalPosition()
    instance_id: str = ""
    next_stream: int = 1
    sessions: Sequence[tuple[str, str, int, int]] = ()
    """Producer id, session id, last sequence taken, and time of the last event in nanoseconds."""
    counts: dict[str, Any] | None = None
    log_queue: dict[str, Any] | None = None
    aggregate: Sequence[Sequence[Any]] = ()


def slices(checkpoint: Checkpoint) -> Iterator[bytes]:
    """Yield the file in parts, each small enough to be made between other work."""
    head = {
        "position": [checkpoint.position.segment, checkpoint.position.offset],
        "instance_id": checkpoint.instance_id,
        "next_stream": checkpoint.next_stream,
        "sessions": checkpoint.sessions,
        "counts": checkpoint.counts,
        "backlog": checkpoint.log_queue,
        # A file that lost its end on a frame's border would pass as a smaller checkpoint.
        "rows": len(checkpoint.aggregate),
    }
    yield file_header(KIND, VERSION) + frame(_json(head).encode())
    for row in checkpoint.aggregate:
        yield from _row(row)


def _row(row: Sequence[Any]) -> Iterator[bytes]:
    """Yield the record of a row of the aggregate, after as many empty parts as it takes turns."""
    texts: list[str] = []
    for value in row:
        if isinstance(value, SeriesCapture):
            rows: list[str] = []
            for part in value.parts():
                rows.append(_json(part)[1:-1])
                yield b""
            texts.append(f"[{','.join(rows)}]")
        else:
            texts.append(_json(value))
    yield frame(f"[{','.join(texts)}]".encode())


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def decode(data: bytes) -> Checkpoint:
    """Checkpoint of a file.

    Raises FormatError: the file is damaged, of another kind, or of a version that this program does not read.
    """
    version = file_version(data, KIND)
    if version != VERSION:
        raise FormatError(f"checkpoint of version {version}; this program reads {VERSION}")
    head, *rows = [json.loads(record.payload) for record in records(data)] or [{}]
    if len(rows) != head.get("rows"):
        raise FormatError(f"checkpoint with {len(rows)} rows, its head says {head.get('rows')}")
    return Checkpoint(
        position=JournalPosition(*head["position"]),
        instance_id=head["instance_id"],
        next_stream=head["next_stream"],
        sessions=[tuple(row) for row in head["sessions"]],
        counts=head["counts"],
        log_queue=head["backlog"],
        aggregate=rows,
    )
