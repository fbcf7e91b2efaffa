"""What stands before a spliced value and depends on its length alone.

Field numbers from opentelemetry-proto 1.x, which are stable.
"""

from __future__ import annotations

from pod_runtime.protobuf_wire import LENGTH_DELIMITED, delimited, varint


class Frames(dict[int, bytes]):
    """Length of a payload → tag and length that stand before it, made once a length."""

    __slots__ = ("_tag",)

    def __init__(self, field: int) -> None:
        super().__init__()
        self._tag = varint(field << 3 | LENGTH_DELIMITED)

    def __missing__(self, length: int) -> bytes:
        frame = self[length] = self._tag + varint(length)
        return frame


class AttributeHeads(dict[int, bytes]):
    """Bytes of a value → everything of an attribute (a repeated KeyValue) before that value, made once a length.

    `tag` is the tag of the AnyValue's member; `counted` members (strings) have their length after it.
    """

    __slots__ = ("_counted", "_field", "_key", "_tag")

    def __init__(self, field: int, key: str, tag: bytes, *, counted: bool) -> None:
        super().__init__()
        self._field = field
        self._key = delimited(1, key.encode())
        self._tag = tag
        self._counted = counted

    def __missing__(self, length: int) -> bytes:
        head = self._tag + (varint(length) if self._counted else b"")
        value = b"\x12" + varint(len(head) + length) + head
        pair = self._key + value
        whole = varint(self._field << 3 | LENGTH_DELIMITED) + varint(len(pair) + length) + pair
        self[length] = whole
        return whole


STRING_TAG = b"\x0a"
BOOL_TAG = b"\x10"
INT_TAG = b"\x18"
DOUBLE_TAG = b"\x21"


def string_attribute(field: int, key: str, value: str) -> bytes:
    """An attribute with a text value, whole."""
    data = value.encode()
    return AttributeHeads(field, key, STRING_TAG, counted=True)[len(data)] + data
