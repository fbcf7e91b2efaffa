"""Request for each kind of secret, and the reading of its answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.secrets.errors import SourceError
from sidecar.secrets.lease.schedule import Act
from sidecar.secrets.refresh import POLLS
from sidecar.secrets.settings import FileSettings, SecretSettings
from sidecar.secrets.vault.client import VaultAnswer
from sidecar.secrets.vault.engines import read_request, read_secret, read_version, version_path
from sidecar.secrets.vault.version import VersionMark
from tests.unit.sidecar.secrets.vault.test_certificate import make_certificate

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
FILES = (FileSettings(name="file"),)


def secret(source: str, **values: Any) -> SecretSettings:
    return SecretSettings(name="x", source=source, files=FILES, **values)


PKI = secret("pki", role="web", parameters={"common_name": "a"})


@pytest.mark.parametrize(
    ("settings", "method", "path", "body"),
    [
        (secret("kv", path="a/b"), "GET", "secret/data/a/b", None),
        (secret("kv1", path="a", mount="old"), "GET", "old/a", None),
        (secret("leased", path="database/creds/broker"), "GET", "database/creds/broker", None),
        (secret("leased", path="aws/sts/x", parameters={"ttl": "1h"}), "POST", "aws/sts/x", {"ttl": "1h"}),
        (secret("static_role", role="broker"), "GET", "database/static-creds/broker", None),
        (PKI, "POST", "pki/issue/web", {"common_name": "a"}),
    ],
)
def test_requests(settings: SecretSettings, method: str, path: str, body: object) -> None:
    request = read_request(settings)
    assert (request.method, request.path, request.body) == (method, path, body)


def test_a_ciphertext_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "cipher"
    path.write_text("vault:v1:abc\n")
    request = read_request(secret("transit", role="key", ciphertext_file=path))
    assert (request.path, request.body) == ("transit/decrypt/key", {"ciphertext": "vault:v1:abc"})


def test_versions_and_certificates_are_looked_at_without_a_read() -> None:
    assert version_path(secret("kv", path="a", mount="team/kv")) == "team/kv/metadata/a"
    assert [source for source, act in POLLS.items() if act is Act.POLL] == ["kv", "pki"]


def read(settings: SecretSettings, **parts: Any) -> Any:
    return read_secret(settings, VaultAnswer(status=200, request_id="r", **parts), NOW)


def test_kv_has_fields_and_a_version() -> None:
    found = read(secret("kv", path="a"), data={"data": {"k": "v"}, "metadata": {"version": 3}})
    assert (found.data, found.version, found.ttl_s, found.request_id) == ({"k": "v"}, "3", 0.0, "r")


def test_a_lease_has_its_life() -> None:
    found = read(secret("leased", path="a"), data={"u": "v"}, lease_id="a/1", lease_duration=60, renewable=True)
    assert (found.lease_id, found.ttl_s, found.renewable) == ("a/1", 60.0, True)


def test_a_static_role_says_when_it_changes() -> None:
    found = read(
        secret("static_role", role="r"), data={"username": "u", "password": "p", "ttl": 30, "last_vault_rotation": "T"}
    )
    assert (found.refresh_s, found.version) == (31.0, "T")


CERTIFICATE = {
    "certificate": "LEAF",
    "private_key": "KEY",
    "issuing_ca": "CA",
    "ca_chain": ["MIDDLE", "ROOT"],
    "expiration": int(NOW.timestamp()) + 600,
    "serial_number": "0a:0b",
}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_certificates_life_is_counted_by_the_servers_clock(hours: int) -> None:
    answer = VaultAnswer(status=200, server_time=NOW, data=CERTIFICATE)
    assert read_secret(PKI, answer, NOW + timedelta(hours=hours)).ttl_s == 600.0


def test_a_certificate_that_has_expired_already_is_a_fault_and_not_one_without_end() -> None:
    with pytest.raises(SourceError, match="had expired when it came; compare the clocks"):
        read_secret(PKI, VaultAnswer(status=200, data=CERTIFICATE), NOW + timedelta(hours=1))


def test_a_certificate_comes_with_its_chain_and_its_life() -> None:
    found = read(PKI, data=CERTIFICATE)
    assert found.data["chain"] == "LEAF\nMIDDLE\nROOT\n"
    assert (found.data["ca"], found.ttl_s, found.version) == ("MIDDLE\nROOT", 600.0, "0a:0b")


def test_a_certificate_without_a_chain_comes_with_its_authority() -> None:
    found = read(PKI, data={key: value for key, value in CERTIFICATE.items() if key != "ca_chain"})
    assert (found.data["chain"], found.data["ca"]) == ("LEAF\nCA\n", "CA")


def test_a_certificate_with_a_lease_is_a_lease() -> None:
    assert read(PKI, data=CERTIFICATE, lease_id="pki/issue/web/1").lease_id == "pki/issue/web/1"


def test_a_certificate_that_is_not_valid_yet_is_a_fault() -> None:
    leaf = make_certificate(start=NOW + timedelta(hours=2))
    with pytest.raises(SourceError, match="is not valid before 2026-11-02T14:00:00Z"):
        read(PKI, data=CERTIFICATE | {"certificate": leaf})
    assert read(PKI, data=CERTIFICATE | {"certificate": make_certificate(start=NOW)}).ttl_s == 600.0


def issued(**life: timedelta) -> dict[str, Any]:
    """An answer whose authority begins and lasts as `life` says."""
    start, lasts = NOW + life.get("start", timedelta(0)), life.get("lasts", timedelta(days=1))
    middle = make_certificate(start=start, issuer="root", subject="middle", life=lasts)
    leaf = make_certificate(start=NOW, issuer="middle")
    return CERTIFICATE | {"certificate": leaf, "ca_chain": [middle]}


def test_a_certificate_lives_no_longer_than_its_authority() -> None:
    assert read(PKI, data=issued(lasts=timedelta(minutes=5))).ttl_s == 300.0
    assert read(PKI, data=issued()).ttl_s == 600.0


@pytest.mark.parametrize(
    "life", [{"start": timedelta(hours=1)}, {"start": timedelta(days=-2)}], ids=["not yet", "ended"]
)
def test_a_certificate_of_an_authority_that_is_not_valid_is_a_fault(life: dict[str, timedelta]) -> None:
    with pytest.raises(SourceError, match=r"the authority that issued the certificate is valid from .* only"):
        read(PKI, data=issued(**life))


def test_a_plaintext_comes_as_text_too(tmp_path: Path) -> None:
    found = read(secret("transit", role="k", ciphertext_file=tmp_path / "c"), data={"plaintext": "aMO8"})
    assert found.data == {"plaintext": "aMO8", "text": "hü"}
    found = read(secret("transit", role="k", ciphertext_file=tmp_path / "c"), data={"plaintext": "/w=="})
    assert found.data == {"plaintext": "/w=="}


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        (secret("kv", path="a"), {"k": "hunter2"}, "is deleted, or its engine is not kv version 2"),
        (secret("leased", path="a"), {"k": "hunter2"}, "gave no lease"),
        (secret("static_role", role="a"), {"k": "hunter2"}, "gave no password"),
        (PKI, {"certificate": "hunter2"}, "has no private_key, expiration"),
    ],
)
def test_what_is_missing_is_named_without_the_rest(settings: SecretSettings, data: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message) as raised:
        read(settings, data=data)
    assert "hunter2" not in str(raised.value)


def version(**entry: Any) -> VersionMark:
    answer = VaultAnswer(status=200, data={"current_version": 2, "versions": {"2": entry}})
    return read_version(secret("kv", path="a"), answer, NOW)


def test_versions() -> None:
    assert version(deletion_time="", destroyed=False) == VersionMark(version="2")
    made = version(created_time="2026-11-02T11:59:59.123456789Z", deletion_time="2999-01-01T00:00:00Z")
    assert made == VersionMark(version="2", made_at=NOW - timedelta(microseconds=876544))
    for entry in ({"destroyed": True}, {"deletion_time": "2020-01-01T00:00:00.5Z"}):
        with pytest.raises(SourceError, match="version 2 of a is deleted"):
            version(**entry)
    with pytest.raises(SourceError, match="names no current version"):
        read_version(secret("kv", path="a"), VaultAnswer(status=200), NOW)
