"""Self-signed certificates for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@cache
def make_pair(name: str) -> tuple[bytes, bytes]:
    """Certificate and key in PEM; the same pair for the same name within a run."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _signed(name, key, name, key, is_authority=False), _pem(key)


def make_issued(name: str) -> tuple[bytes, bytes, bytes]:
    """Certificate, key, and the intermediate that issued it, whose root nobody has; all in PEM."""
    key, middle, root = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    leaf = _signed(name, key, "middle", middle, is_authority=False)
    return leaf, _pem(key), _signed("middle", middle, "root", root, is_authority=True)


def _signed(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> bytes:
    subject, above = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer))
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    )
    if is_authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
