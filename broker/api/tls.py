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


def load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """New connections get the new certificate; those that stand keep theirs.

    Raises:
        ValueError: the pair cannot be used; the context is as before.
    """
    check_pair(certificate, key)
    context.load_cert_chain(certificate, key)
