"""Plain forms of the values that programs give: what an event, a label and a log record can carry of them.

A field of an event is a text, a number, a boolean or nothing (`plain_value`), a label is a text (`label_text`), and
attributes of a log record are one JSON text (`as_json`). Numbers of numpy and of `decimal` become plain ones, times
their ISO form, bytes their text if they are UTF-8. Nothing here raises for a value, however odd.
"""

from __future__ import annotations

import base64
import enum
import json
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

EXACT = frozenset({str, int, float, bool, type(None)})
"""Types that the spool writes as they are."""
MAX_DEPTH = 20
CUT = "..."
"""Stands for a part of a structure that contains itself, or is too deep."""
_WORDS = (Decimal, UUID, PurePath)
_BYTES = (bytes, bytearray, memoryview)


def plain_value(value: Any, wanted: type) -> Any:
    """The form of a field's value that is nearest to the column's type `wanted`; None if there is none."""
    if type(value) in EXACT:
        return value
    if isinstance(value, enum.Enum):
        return plain_value(value.value, wanted)
    if wanted is str:
        return _plain_text(value)
    number = plain_number(value)
    if wanted is bool and number is not None:
        return bool(number) if number in (0, 1) else None
    return number


def plain_number(value: Any) -> float | None:
    """A measured amount as an `int` or `float`; None if it is no number."""
    kind = type(value)
    if kind is float or kind is int:
        return value  # type: ignore[no-any-return] # just seen
    value = unboxed(value)
    try:
        if isinstance(value, int):
            return int(value)
        return float(value) if isinstance(value, (float, Decimal, numbers.Real)) else None
    except (ArithmeticError, ValueError):  # a fraction beyond all floats, a signalling NaN
        return None


def unboxed(value: Any) -> Any:
    """The Python value in a scalar of numpy (or of a library that does as numpy does); any other as it is."""
    try:
        if value.shape == ():
            found = value.item()
            # A long double gives itself; it is a number that `float` takes.
            return float(value) if type(found) is type(value) else found
    except Exception:  # noqa: BLE001 - no such attribute, or an odd object's own error
        return value
    return value


def _plain_text(value: Any) -> str | None:
    value = unboxed(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, _BYTES):
        return _utf8(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (int, float, *_WORDS)):
        return text_of(value)
    return None


def _utf8(value: bytes | bytearray | memoryview) -> str | None:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return None


def text_of(value: Any) -> str:
    """`str(value)`; the name of the type if that raises."""
    try:
        return str.__str__(str(value))
    except Exception:  # noqa: BLE001 - code of somebody else
        return f"<{type(value).__name__}>"


def label_text(value: Any) -> str:
    """A label's value, as OpenTelemetry's exporter for Prometheus writes it: texts as they are, the rest as JSON."""
    if type(value) is str:
        return value
    value = unboxed(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(float(value))
    # The exporter quotes a value that JSON has no form for: a label's quotes would be part of it.
    plain = _json_value(value, ())
    return plain if isinstance(plain, str) else json.dumps(plain, sort_keys=True)


def as_json(attributes: Mapping[Any, Any]) -> str | None:
    """Attributes as one JSON text, None if there are none; keys become texts, what JSON has no form for its `str`."""
    return json.dumps(_json_value(attributes, ()), sort_keys=True) if attributes else None


def _json_value(value: Any, within: tuple[int, ...]) -> Any:
    """The value made of what JSON has; `within` are the ids of the structures around it."""
    value = unboxed(value)
    if value is None or isinstance(value, (bool, str, int, float)):
        return _json_scalar(value)
    try:
        return _json_structure(value, within)
    except Exception:  # noqa: BLE001 - code of somebody else
        return text_of(value)


def _json_scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    # In JSON's own words there is no NaN; these are proto3's, and so OTLP's.
    return float(value) if math.isfinite(value) else _not_finite(value)


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _json_structure(value: Any, within: tuple[int, ...]) -> Any:
    if isinstance(value, _BYTES):
        found = _utf8(value)
        return found if found is not None else base64.b64encode(bytes(value)).decode()
    if hasattr(value, "tolist"):  # an array of numpy
        return _json_value(value.tolist(), (*within, id(value)))
    if not isinstance(value, (Mapping, Sequence, AbstractSet)):
        return value.isoformat() if isinstance(value, (date, time)) else text_of(value)
    if id(value) in within or len(within) > MAX_DEPTH:
        return CUT
    inside = (*within, id(value))
    if isinstance(value, Mapping):
        return {_key_text(key): _json_value(item, inside) for key, item in value.items()}
    items = [_json_value(item, inside) for item in value]
    return sorted(items, key=json.dumps) if isinstance(value, AbstractSet) else items


def _key_text(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    # As `json` spells the keys that it takes.
    return json.dumps(key) if key is None or isinstance(key, bool) else text_of(key)


def are_plain(values: Iterable[Any]) -> bool:
    """True if the spool can write each of the values as it is."""
    return EXACT.issuperset(map(type, values))
