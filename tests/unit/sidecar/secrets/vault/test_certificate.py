"""Facts of certificates, against a library that makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.secrets.vault.certificate import read_certificate

_KEY = ec.generate_private_key(ec.SECP256R1())


def make_certificate(*, start: datetime, issuer: str = "authority", subject: str = "leaf") -> str:
    """A certificate (PEM) that is valid for a day from `start`."""
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (issuer, subject)]
    builder = x509.CertificateBuilder(names[0], names[1], _KEY.public_key(), x509.random_serial_number())
    made = builder.not_valid_before(start).not_valid_after(start + timedelta(days=1)).sign(_KEY, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


@settings(max_examples=20, deadline=None)
@given(st.datetimes(datetime(1950, 1, 1), datetime(2200, 1, 1)), st.sampled_from(["a", "b"]))  # noqa: DTZ001 - see below
def test_the_start_and_the_names_are_those_that_it_was_made_with(start: datetime, subject: str) -> None:
    moment = start.replace(microsecond=0, tzinfo=UTC)
    facts = read_certificate(make_certificate(start=moment, issuer="a", subject=subject))
    assert facts is not None
    assert (facts.not_before, facts.self_issued) == (moment, subject == "a")


@pytest.mark.parametrize("cut", [0, 1, 40, 200])
def test_what_is_no_certificate_has_no_facts(cut: int) -> None:
    pem = make_certificate(start=datetime(2026, 11, 2, tzinfo=UTC))
    assert read_certificate(pem[:cut]) is None
    body = pem.splitlines()
    assert read_certificate("\n".join([body[0], "MIIB" + "A" * (cut // 4 * 4), body[-1]])) is None
