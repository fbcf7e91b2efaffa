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

from sidecar.secrets.vault.certificate import order_chain, read_certificate

_KEY = ec.generate_private_key(ec.SECP256R1())


def make_certificate(
    *, start: datetime, issuer: str = "authority", subject: str = "leaf", life: timedelta = timedelta(days=1)
) -> str:
    """A certificate (PEM) that is valid from `start`."""
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (issuer, subject)]
    builder = x509.CertificateBuilder(names[0], names[1], _KEY.public_key(), x509.random_serial_number())
    made = builder.not_valid_before(start).not_valid_after(start + life).sign(_KEY, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


@settings(max_examples=20, deadline=None)
@given(st.datetimes(datetime(1950, 1, 1), datetime(2200, 1, 1)), st.sampled_from(["a", "b"]))  # noqa: DTZ001 - see below
def test_the_start_and_the_names_are_those_that_it_was_made_with(start: datetime, subject: str) -> None:
    moment = start.replace(microsecond=0, tzinfo=UTC)
    facts = read_certificate(make_certificate(start=moment, issuer="a", subject=subject))
    assert facts is not None
    assert (facts.not_before, facts.self_issued) == (moment, subject == "a")
    assert facts.not_after == moment + timedelta(days=1)


@pytest.mark.parametrize("cut", [0, 1, 40, 200])
def test_what_is_no_certificate_has_no_facts(cut: int) -> None:
    pem = make_certificate(start=datetime(2026, 11, 2, tzinfo=UTC))
    assert read_certificate(pem[:cut]) is None
    body = pem.splitlines()
    assert read_certificate("\n".join([body[0], "MIIB" + "A" * (cut // 4 * 4), body[-1]])) is None


NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
LEAF, MIDDLE, ROOT, CROSSED, OTHER = (
    make_certificate(start=NOW, issuer=issuer, subject=subject).strip()
    for issuer, subject in [
        ("middle", "leaf"),
        ("root", "middle"),
        ("root", "root"),
        ("other", "root"),
        ("other", "other"),
    ]
)


@given(st.permutations([MIDDLE, ROOT]))
def test_a_chain_goes_from_the_issuer_up_in_whatever_order_it_came(given_: list[str]) -> None:
    assert order_chain(LEAF, given_, NOW) == [MIDDLE, ROOT]


@given(st.permutations([MIDDLE, ROOT, CROSSED, OTHER]))
def test_a_cross_signed_chain_has_both_paths_and_the_first_is_whole(given_: list[str]) -> None:
    found = order_chain(LEAF, [*given_, MIDDLE + "\n", ""], NOW)
    assert found[0] == MIDDLE
    assert found[1:3] in ([ROOT, CROSSED], [ROOT, OTHER], [CROSSED, OTHER])
    assert sorted(found) == sorted([MIDDLE, ROOT, CROSSED, OTHER])


@pytest.mark.parametrize("start", [NOW - timedelta(days=2), NOW + timedelta(hours=1)], ids=["expired", "not yet"])
def test_an_authority_that_is_not_valid_is_left_out(start: datetime) -> None:
    crossed = make_certificate(start=start, issuer="other", subject="root")
    assert order_chain(LEAF, [MIDDLE, crossed, ROOT], NOW) == [MIDDLE, ROOT]


def test_what_cannot_be_read_stays_where_it_was() -> None:
    assert order_chain("LEAF", ["MIDDLE", "ROOT", "MIDDLE"], NOW) == ["MIDDLE", "ROOT"]
    assert order_chain(LEAF, ["NONE", ROOT], NOW) == ["NONE", ROOT]


def test_authorities_that_sign_each_other_end() -> None:
    two = [make_certificate(start=NOW, issuer=issuer, subject=subject).strip() for issuer, subject in ("ab", "ba")]
    leaf = make_certificate(start=NOW, issuer="a")
    assert sorted(order_chain(leaf, two, NOW)) == sorted(two)
