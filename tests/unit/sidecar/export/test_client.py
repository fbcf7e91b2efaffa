from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

from sidecar.export.client import CollectorChannel, Headers, SetupError, parse_headers
from sidecar.export.exporter import OtlpExporter
from sidecar.export.settings import OtlpSettings
from tests.otlp_receiver import Fault, OtlpReceiver
from tests.unit.sidecar.export.test_exporter import drained, exporter, running, settings
from tests.unit.sidecar.fake_journal import MemoryJournal, orders

LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, and their files."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    certificate_file: Path
    key_file: Path


def issue(place: Path, name: str, issuer: Issued | None = None) -> Issued:
    """A certificate for loopback, signed by `issuer` or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(names, critical=False)
    )
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    certificate_file, key_file = place / f"{name}.pem", place / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Issued(certificate, key, certificate_file, key_file)


@pytest.fixture
def server_credentials(tmp_path: Path) -> tuple[Issued, Callable[[bool], grpc.ServerCredentials]]:
    authority = issue(tmp_path, "authority")
    server = issue(tmp_path, "server", authority)

    def make(mutual: bool) -> grpc.ServerCredentials:
        pair = (server.key_file.read_bytes(), server.certificate_file.read_bytes())
        root = authority.certificate_file.read_bytes() if mutual else None
        return grpc.ssl_server_credentials([pair], root, require_client_auth=mutual)

    return authority, make


async def test_tls_with_the_collectors_own_authority(
    server_credentials: tuple[Issued, Callable[[bool], grpc.ServerCredentials]],
) -> None:
    authority, make = server_credentials
    journal = MemoryJournal([orders(1, 3, end=10)])
    async with OtlpReceiver(credentials=make(False)) as receiver:
        otlp = settings(receiver.endpoint, certificate_file=authority.certificate_file)
        await drained(exporter(journal, otlp))
    assert journal.exported == 3


async def test_mutual_tls(
    server_credentials: tuple[Issued, Callable[[bool], grpc.ServerCredentials]], tmp_path: Path
) -> None:
    authority, make = server_credentials
    client = issue(tmp_path, "client", authority)
    journal = MemoryJournal([orders(1, 3, end=10)])
    async with OtlpReceiver(credentials=make(True)) as receiver:
        otlp = settings(
            receiver.endpoint,
            certificate_file=authority.certificate_file,
            client_certificate_file=client.certificate_file,
            client_key_file=client.key_file,
        )
        await drained(exporter(journal, otlp))
    assert journal.exported == 3


async def test_a_collector_with_a_certificate_of_somebody_else_gets_nothing(
    server_credentials: tuple[Issued, Callable[[bool], grpc.ServerCredentials]], tmp_path: Path
) -> None:
    _, make = server_credentials
    stranger = issue(tmp_path, "stranger")
    journal = MemoryJournal([orders(1, 3, end=10)])
    async with OtlpReceiver(credentials=make(False)) as receiver:
        it = exporter(journal, settings(receiver.endpoint, certificate_file=stranger.certificate_file, drain_s=0.3))
        await drained(it)
    assert (receiver.calls, journal.exported) == ([], 0)
    assert it.status().logs.last_error.startswith("unavailable: ")


async def test_certificates_that_come_late_or_change_need_no_restart(
    server_credentials: tuple[Issued, Callable[[bool], grpc.ServerCredentials]], tmp_path: Path
) -> None:
    authority, make = server_credentials
    stranger = issue(tmp_path, "stranger")
    file = tmp_path / "trusted.pem"
    journal = MemoryJournal([orders(1, 3, end=10)])
    async with OtlpReceiver(credentials=make(False)) as receiver:
        it = exporter(journal, settings(receiver.endpoint, certificate_file=file))
        async with running(it):
            await failing(it, f"certificate_file: {file}: cannot be read (No such file or directory)")
            file.write_bytes(stranger.certificate_file.read_bytes())
            await failing(it, "unavailable: ")
            (tmp_path / "new.pem").write_bytes(authority.certificate_file.read_bytes())
            (tmp_path / "new.pem").replace(file)
            await receiver.wait_records(3)
    assert journal.exported == 3


async def test_a_request_under_way_when_the_channel_is_opened_anew_is_told_so(
    server_credentials: tuple[Issued, Callable[[bool], grpc.ServerCredentials]],
) -> None:
    authority, make = server_credentials
    async with OtlpReceiver(credentials=make(False), always=Fault(delay_s=30)) as receiver:
        otlp = settings(receiver.endpoint, certificate_file=authority.certificate_file)
        channel = CollectorChannel(otlp)
        async with asyncio.TaskGroup() as group:
            request = group.create_task(told(channel))
            await receiver.wait_calls(1)
            authority.certificate_file.with_suffix(".new").write_bytes(authority.certificate_file.read_bytes())
            authority.certificate_file.with_suffix(".new").replace(authority.certificate_file)
            await channel.reopen_if_changed()
        assert request.result() == "reopened"
        await channel.close()


async def told(channel: CollectorChannel) -> str:
    try:
        await channel.call(LOGS, ExportLogsServiceResponse, b"", ())
    except SetupError as error:
        return error.reason
    return "answered"


async def failing(it: OtlpExporter, error: str) -> None:
    async with asyncio.timeout(120):
        while not it.status().logs.last_error.startswith(error):
            await asyncio.sleep(0.01)


async def test_a_headers_file_that_is_missing_holds_everything_back_until_it_comes(tmp_path: Path) -> None:
    journal = MemoryJournal([orders(1, 3, end=10)])
    async with OtlpReceiver() as receiver:
        it = exporter(journal, settings(receiver.endpoint, headers_file=tmp_path / "headers", drain_s=0.2))
        await drained(it)
        assert receiver.calls == []
        assert (
            it.status().logs.last_error
            == f"headers_file: {tmp_path}/headers: cannot be read (No such file or directory)"
        )
        (tmp_path / "headers").write_text("authorization=Bearer x\n")
        await drained(exporter(journal, settings(receiver.endpoint, headers_file=tmp_path / "headers")))
    assert journal.exported == 3


async def test_a_header_that_grpc_cannot_send_holds_everything_back(tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("authorization=Bearer é\n")
    journal = MemoryJournal([orders(1, 3, end=10)])
    async with OtlpReceiver() as receiver:
        it = exporter(journal, settings(receiver.endpoint, headers_file=tmp_path / "headers", drain_s=0.2))
        await drained(it)
    assert (receiver.calls, journal.exported) == ([], 0)
    assert it.status().logs.last_error.startswith("headers_file: ")
    assert "Bearer" not in it.status().logs.last_error


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ()),
        ("# a note\n\nAuthorization = Bearer a=b\nx-team=\n", (("authorization", "Bearer a=b"), ("x-team", ""))),
    ],
)
def test_headers_are_lines_of_name_and_value(text: str, wanted: tuple[Any, ...]) -> None:
    assert parse_headers(text, "f") == wanted


@pytest.mark.parametrize("text", ["a=b\nsecret value", "=secret", "sp ace=secret", "a=sec\tret", "über=secret"])
def test_a_line_that_is_no_header_is_named_by_number_only(text: str) -> None:
    with pytest.raises(SetupError, match=r"f: line [12] ") as caught:
        parse_headers(text, "f")
    assert caught.value.reason == "headers_file"
    assert "sec" not in str(caught.value)


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("a=1\n")
    headers = Headers(OtlpSettings(headers_file=file))
    first = headers.metadata()
    assert headers.metadata()[0] is first[0]


def test_headers_never_show_in_a_representation(tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("authorization=topsecret\n")
    headers = Headers(OtlpSettings(headers_file=tmp_path / "headers"))
    headers.metadata()
    assert "topsecret" not in repr(headers)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE])
async def test_no_error_and_no_log_of_a_failing_export_shows_a_header(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: grpc.StatusCode
) -> None:
    caplog.set_level("DEBUG")
    (tmp_path / "headers").write_text("authorization=Bearer topsecret\n")
    async with OtlpReceiver() as receiver:
        receiver.always = Fault(code=code)
        otlp = settings(receiver.endpoint, headers_file=tmp_path / "headers", drain_s=0.3)
        it = exporter(MemoryJournal([orders(1, 1, end=10)]), otlp)
        await drained(it)
    assert receiver.headers[0]["authorization"] == "Bearer topsecret"
    assert it.status().logs.last_error != ""
    assert "topsecret" not in caplog.text + repr(it.status())
