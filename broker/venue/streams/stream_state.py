"""Decisions about a stream without a socket: lines from chunks, back-off after an end, gaps between ids."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from broker.venue.v20.wire_json import read_json

MAX_LINE_BYTES = 16 << 20


class StreamDataError(ValueError):
    """A line that is no JSON object, or has no end."""


@dataclass(slots=True)
class LineSplitter:
    """Splits chunks into whole lines: the venue's JSON comes cut anywhere (v20-javascript#4)."""

    rest: bytes = field(default=b"")

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes, without empty ones.

        Raises StreamDataError: a line grows beyond 16 MiB, a bound on memory that no true message comes near.
        """
        # Copies the rest again with each chunk: lines are short, and nearly every chunk ends with one.
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        if len(self.rest) > MAX_LINE_BYTES:
            raise StreamDataError(f"a line of more than {MAX_LINE_BYTES} bytes")
        return [line for line in lines if line.strip()]


def message(line: bytes) -> dict[str, Any]:
    """Parse the JSON object of a line. Raises StreamDataError: the line is none."""
    try:
        value = read_json(line)
    except ValueError as error:
        raise StreamDataError(f"line of {len(line)} bytes is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise StreamDataError(f"line of {len(line)} bytes is no JSON object")
    return value


def failures_after(failures: int, lived_s: float, healthy_after_s: float) -> int:
    """Number of failures in a row to back off for, after a connection that lived `lived_s`."""
    # 1, not 0: even after a long life the next opening waits the shortest pause, for a venue may be restarting.
    return 1 if lived_s >= healthy_after_s else failures + 1


def last_without_gap(ids: list[int], after: int) -> int:
    """Return the last of the rising ids that follow `after` one by one; `after` itself where none does."""
    for number in ids:
        if number == after + 1:
            after = number
        elif number > after:
            break
    return after
