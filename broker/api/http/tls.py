"""The certificate of the order API, replaced without dropping a connection."""

from __future__ import annotations

import ssl
from pathlib import Path


def new_context() -> ssl.SSLContext:
    """A context without a certificate: handshakes fail until `load`. TLS 1.2 or newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def check_pair(certificate: Path, key: Path) -> None:
    """Shows that a certificate and a key can be read and belong together.

    Raises:
        ValueError: they cannot, or do not.
    """
    try:
        new_context().load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(f"tls.crt and tls.key: {getattr(error, 'reason', None) or error.strerror}") from error


def check_authority(path: Path) -> None:
    """Shows that a file has certificates of authorities.

    Raises:
        ValueError: it has not.
    """
    try:
        new_context().load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(f"ca.crt: {getattr(error, 'reason', None) or error.strerror}") from error


def load(context: ssl.SSLContext, certificate: Path, key: Path, authority: Path | None = None) -> None:
    """New connections get the new certificate; those that stand keep theirs.

    With an authority a certificate is asked of clients: a broker has one, a caller need not, a wrong one is refused.
    Authorities of earlier calls stay trusted, which an overlap of two needs.

    Raises:
        ValueError: the pair cannot be used; the context is as before.
    """
    check_pair(certificate, key)
    context.load_cert_chain(certificate, key)
    if authority is not None:
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_OPTIONAL
