"""Protobuf's wire format, as far as messages are put together from parts: varints and length-delimited fields.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

LENGTH_DELIMITED = 2


def varint(number: int) -> bytes:
    """A base-128 varint; negative numbers as the 64-bit two's complement that int64 fields use."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def delimited(field: int, payload: bytes) -> bytes:
    """A length-delimited field (message, text, bytes or packed numbers): tag, length, payload."""
    return varint(field << 3 | LENGTH_DELIMITED) + varint(len(payload)) + payload
