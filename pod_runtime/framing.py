"""Framed append-only files: a versioned header, then records of length, CRC-32 and payload.

The one file format of every journal and spool. Layout, little-endian:

    header   4 bytes kind (ASCII), 2 bytes version, 2 bytes zero
    record   4 bytes length (1 or more), 4 bytes CRC-32 of the payload, payload

A record that is cut, or whose sum is wrong, ends what can be read. At the end of a file it is a torn write, which the
owner truncates; before the end it is damage, which the owner sets aside and counts. Nothing is searched behind it:
a length that is wrong leads anywhere, and four bytes there may look like a sum by chance.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

HEADER_BYTES = 8
RECORD_HEADER_BYTES = 8
# No record of ours comes near it: a longer one is damage, however long the file is.
MAX_RECORD_BYTES = 1 << 28

_HEADER = struct.Struct("<4sHH")
_RECORD = struct.Struct("<II")


class FormatError(ValueError):
    """The file is of another kind, or of a version that this program does not read."""


@dataclass(frozen=True, slots=True)
class Record:
    """Whole record: its payload, and the offsets in the file where its frame starts and ends."""

    start: int
    end: int
    payload: bytes


def file_header(kind: bytes, version: int) -> bytes:
    """Build the first 8 bytes of a file of `kind` (4 ASCII bytes)."""
    return _HEADER.pack(kind, version, 0)


def file_version(data: bytes, kind: bytes) -> int:
    """Read the version in a file's header.

    Raises:
        FormatError: the header is cut or names another kind.
    """
    if len(data) < HEADER_BYTES:
        raise FormatError(f"header of {len(data)} bytes, wanted {HEADER_BYTES}")
    found, version, _ = _HEADER.unpack_from(data)
    if found != kind:
        raise FormatError(f"file kind {found!r}, wanted {kind!r}")
    return int(version)


def frame(payload: bytes) -> bytes:
    """Build the record that holds `payload`."""
    return _RECORD.pack(len(payload), crc32(payload)) + payload


def records(data: bytes | memoryview, start: int = HEADER_BYTES) -> Iterator[Record]:
    """Yield every whole record from `start` on, up to the first that is cut or damaged."""
    size = len(data)
    while start + RECORD_HEADER_BYTES <= size:
        length, crc = _RECORD.unpack_from(data, start)
        end = start + RECORD_HEADER_BYTES + length
        # A length of zero is no record: a file that was enlarged and not written reads as zeros, and the CRC-32 of
        # nothing is zero too.
        if not 0 < length <= MAX_RECORD_BYTES or end > size:
            return
        payload = bytes(data[start + RECORD_HEADER_BYTES : end])
        if crc32(payload) != crc:
            return
        yield Record(start, end, payload)
        start = end
