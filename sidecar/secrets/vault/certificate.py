"""Facts of a certificate that decide whether it can be used, its validity and its names, and the order of a chain.

The few fields are read from the DER by hand (RFC 5280, 4.1), because the standard library has no parser of
certificates and the sidecar has no other use for one.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_VERSION, _UTC_TIME, _LONG_FORM = 0xA0, 0x17, 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """Validity, and the names in DER."""

    not_before: datetime
    not_after: datetime
    issuer: bytes
    subject: bytes

    @property
    def self_issued(self) -> bool:
        """True if issuer and subject are the same name."""
        return self.issuer == self.subject

    def holds_at(self, moment: datetime) -> bool:
        """True if the certificate is valid at a moment."""
        return self.not_before <= moment < self.not_after


def read_certificate(pem: str) -> CertificateFacts | None:
    """Read the first certificate of a PEM text; None if it is none."""
    try:
        (_, certificate), *_ = _elements(ssl.PEM_cert_to_DER_cert(pem.strip()))
        (_, to_be_signed), *_ = _elements(certificate)
        fields = [item for item in _elements(to_be_signed) if item[0] != _VERSION]
        _serial, _algorithm, (_, issuer), (_, validity), (_, subject), *_ = fields
        start, end, *_ = (_time(kind, text.decode("ascii")) for kind, text in _elements(validity))
        return CertificateFacts(not_before=start, not_after=end, issuer=issuer, subject=subject)
    except (ValueError, IndexError):
        return None


def order_chain(leaf: str, authorities: Iterable[str], now: datetime) -> list[str]:
    """Return the authorities (PEM) from the leaf's issuer up, each once; those of other paths stand behind.

    Those that are not valid `now` are left out: of two paths that cross-signed authorities make, one may have ended.
    """
    # TLS wants each certificate to be followed by its issuer (RFC 5246, 7.4.2); clients find other paths behind it.
    left = {pem: read_certificate(pem) for pem in map(str.strip, authorities) if pem}
    left = {pem: facts for pem, facts in left.items() if facts is None or facts.holds_at(now)}
    path: list[str] = []
    below = read_certificate(leaf)
    while below is not None and (not path or not below.self_issued):
        issuer = below.issuer
        above = next((pem for pem, facts in left.items() if facts and facts.subject == issuer), None)
        if above is None:
            break
        path.append(above)
        below = left.pop(above)
    return [*path, *left]


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
