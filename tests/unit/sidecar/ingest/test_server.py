from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc import aio

from sidecar.ingest.server import SocketError, prepare_socket
from sidecar.pipeline import TelemetryPipeline
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import TIME_NS, hello

Pair = tuple[bytes, bytes]


def certificate(name: str, *alternative: str) -> Pair:
    """A self-signed certificate for localhost and other names, and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([*map(x509.DNSName, ("localhost", *alternative))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return built.public_bytes(serialization.Encoding.PEM), private


async def say_hello(address: str, credentials: grpc.ChannelCredentials, producer: str = "broker") -> pb.Welcome:
    options = [("grpc.ssl_target_name_override", "localhost")]
    async with aio.secure_channel(address, credentials, options=options) as channel, asyncio.timeout(120):
        call: Any = channel.stream_stream("/telemetry.v1.TelemetryService/Publish")()
        await call.write(pb.PublishRequest(hello=hello(producer)).SerializeToString())
        return pb.PublishResponse.FromString(await call.read()).welcome


async def test_over_tcp_only_a_producer_with_a_certificate_is_let_in(tmp_path: Path) -> None:
    (certificate_pem, key_pem), (stranger_pem, stranger_key) = map(certificate, "ac")
    client_pem, client_key = certificate("b", "broker")
    files = {"certificate": certificate_pem, "key": key_pem, "client_ca": client_pem}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    settings = TelemetrySettings(
        socket=tmp_path / "run" / "t.sock",
        durability="none",
        drain_s=0.0,
        tcp_address="127.0.0.1:0",
        tcp_certificate_file=tmp_path / "certificate",
        tcp_key_file=tmp_path / "key",
        tcp_client_ca_file=tmp_path / "client_ca",
    )
    pipeline = TelemetryPipeline(settings=settings, clock=lambda: TIME_NS)
    await pipeline.open()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.serve(stop))
        await pipeline.listening.wait()
        known = grpc.ssl_channel_credentials(certificate_pem, client_key, client_pem)
        assert (await say_hello(pipeline.tcp_address, known)).protocol_version == 1
        for credentials in (
            grpc.ssl_channel_credentials(certificate_pem, stranger_key, stranger_pem),
            grpc.ssl_channel_credentials(certificate_pem),
        ):
            with pytest.raises(aio.AioRpcError) as refused:
                await say_hello(pipeline.tcp_address, credentials)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(aio.AioRpcError, match="the certificate does not name 'pricer'"):
            await say_hello(pipeline.tcp_address, known, "pricer")
        stop.set()


def test_tcp_without_certificates_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="mutual TLS only"):
        TelemetrySettings(tcp_address="0.0.0.0:4000")


async def test_a_stale_socket_is_taken_over(tmp_path: Path) -> None:
    settings = TelemetrySettings(socket=tmp_path / "run" / "t.sock", durability="none", drain_s=0.0, reflection=True)
    settings.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(settings.socket))
    pipeline = TelemetryPipeline(settings=settings, clock=lambda: TIME_NS)
    await pipeline.open()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.serve(stop))
        await pipeline.listening.wait()
        assert settings.socket.stat().st_mode & 0o777 == 0o660
        stop.set()
    assert not settings.socket.exists()


def test_a_listener_whose_queue_is_full_is_another_process(tmp_path: Path) -> None:
    path = tmp_path / "run" / "t.sock"
    path.parent.mkdir(mode=0o700)
    with ExitStack() as held:
        stalled = held.enter_context(socket.socket(socket.AF_UNIX))
        stalled.bind(str(path))
        stalled.listen(1)
        for _ in range(3):
            waiting = held.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(str(path))
        with pytest.raises(SocketError, match="another process listens"):
            prepare_socket(path)


async def test_certificates_of_the_tcp_listener_are_replaced_while_it_listens(tmp_path: Path) -> None:
    servers, clients = [certificate("server") for _ in range(2)], [certificate("client", "broker") for _ in range(2)]

    def write(number: int) -> None:
        files = {"certificate": servers[number][0], "key": servers[number][1], "client_ca": clients[number][0]}
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)

    write(0)
    settings = TelemetrySettings(
        socket=tmp_path / "run" / "t.sock",
        durability="none",
        drain_s=0.0,
        tcp_address="127.0.0.1:0",
        tcp_certificate_file=tmp_path / "certificate",
        tcp_key_file=tmp_path / "key",
        tcp_client_ca_file=tmp_path / "client_ca",
    )
    pipeline = TelemetryPipeline(settings=settings, clock=lambda: TIME_NS)
    await pipeline.open()
    first, second = (
        grpc.ssl_channel_credentials(servers[number][0], clients[number][1], clients[number][0]) for number in (0, 1)
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(pipeline.serve(stop))
        await pipeline.listening.wait()
        assert (await say_hello(pipeline.tcp_address, first)).protocol_version == 1
        # Half a replacement, as a reader may meet it, changes nothing.
        (tmp_path / "certificate").write_bytes(servers[1][0])
        (tmp_path / "client_ca").unlink()
        assert (await say_hello(pipeline.tcp_address, first)).protocol_version == 1
        write(1)
        assert (await say_hello(pipeline.tcp_address, second)).protocol_version == 1
        with pytest.raises(aio.AioRpcError):
            await say_hello(pipeline.tcp_address, first)
        stop.set()
