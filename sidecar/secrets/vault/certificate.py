"""Facts of a certificate that decide whether it can be used: the start of its validity, and whether it signed itself.

The few fields are read from the DER by hand (RFC 5280, 4.1), because the standard library has no parser of
certificates and the sidecar has no other use for one.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_VERSION, _UTC_TIME, _LONG_FORM = 0xA0, 0x17, 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """Start of the validity, and True if issuer and subject are the same name."""

    not_before: datetime
    self_issued: bool


def read_certificate(pem: str) -> CertificateFacts | None:
    """Read the first certificate of a PEM text; None if it is none."""
    try:
        (_, certificate), *_ = _elements(ssl.PEM_cert_to_DER_cert(pem.strip()))
        (_, to_be_signed), *_ = _elements(certificate)
        fields = [item for item in _elements(to_be_signed) if item[0] != _VERSION]
        _serial, _algorithm, (_, issuer), (_, validity), (_, subject), *_ = fields
        (kind, start), *_ = _elements(validity)
        return CertificateFacts(not_before=_time(kind, start.decode("ascii")), self_issued=issuer == subject)
    except (ValueError, IndexError):
        return None


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element of a DER sequence's content."""
    place = 0
    while place < len(data):
        tag, length = data[place], data[place + 1]
        place += 2
        if length & _LONG_FORM:
            size = length & ~_LONG_FORM
            length = int.from_bytes(data[place : place + size], "big")
            place += size
        if place + length > len(data):
            raise ValueError("an element is cut off")
        yield tag, data[place : place + length]
        place += length


def _time(kind: int, text: str) -> datetime:
    # Two digits of the year stand for 1950 to 2049 (RFC 5280, 4.1.2.5.1).
    if kind == _UTC_TIME:
        text = ("20" if int(text[:2]) < 50 else "19") + text  # noqa: PLR2004 - see above
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
