"""TLS of the order API: the server's certificate, replaced without dropping a connection, and our own as a client."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pod_runtime.run import is_passing


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificatePair:
    """Files of the API's certificate; they stay for as long as the secret volume keeps their generation."""

    certificate: Path
    key: Path
    authority: Path | None = None
    """ca.crt, if published: signs the certificates of the account's other brokers."""


class CertificateSource(Protocol):
    """The certificate in use now; see `broker.credentials.watcher`."""

    def certificate(self) -> CertificatePair | None:
        """None before the first generation, or if it has no certificate."""


def new_server_context() -> ssl.SSLContext:
    """A context without a certificate: handshakes fail until `load_certificate`. TLS 1.2 or newer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def check_pair(certificate: Path, key: Path) -> None:
    """Check that a certificate and a key can be read and belong together; raises ValueError if not.

    Raises OSError: the system lacks something for a while, which says nothing of the files.
    """
    try:
        new_server_context().load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        if is_passing(error):
            raise
        raise ValueError(f"tls.crt and tls.key: {getattr(error, 'reason', None) or error.strerror}") from error


def check_authority(path: Path) -> None:
    """Check that a file has certificates of authorities; raises ValueError if it has none, OSError as `check_pair`."""
    try:
        new_server_context().load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        if is_passing(error):
            raise
        raise ValueError(f"ca.crt: {getattr(error, 'reason', None) or error.strerror}") from error


def load_certificate(context: ssl.SSLContext, certificate: Path, key: Path, authority: Path | None = None) -> None:
    """Give new connections the certificate; open ones keep theirs.

    With an `authority` the server asks its clients for a certificate.

    Raises:
        ValueError: the pair cannot be used; the context is as before.
    """
    # OpenSSL replaces certificate and key one after the other: a pair that fails in between would leave half of it.
    check_pair(certificate, key)
    context.load_cert_chain(certificate, key)
    if authority is not None:
        # OpenSSL only ever adds authorities. That suits a rotation, in which the old and the new one overlap.
        context.load_verify_locations(authority)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # Optional: other brokers present a certificate, callers with an API key need none; a wrong one is refused.
        context.verify_mode = ssl.CERT_OPTIONAL


def client_context(pair: CertificatePair) -> ssl.SSLContext:
    """A context that presents `pair` and trusts its authority alone."""
    context = ssl.create_default_context(cafile=str(pair.authority))
    # An intermediate in the file is trusted as it is, for a PKI whose root stays elsewhere; the default since 3.13.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(pair.certificate, pair.key)
    return context
