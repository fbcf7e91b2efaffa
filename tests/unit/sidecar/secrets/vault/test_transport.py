"""The transport against servers that misbehave."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pod_runtime.secret import Secret
from sidecar.secrets.errors import VaultError, VaultFault
from tests.unit.sidecar.secrets.hostile_server import answering, client_of, failing, serving

CANARY = 'c4n4ry/"+ ümlaut'
TOKEN = Secret(CANARY)


def hang(handler: Any) -> None:
    handler.server_state.released.wait(10)


def reset(handler: Any) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def half(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data"')
    handler.close_connection = True


def dribble(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server_state.released.wait(0.05):
        handler.wfile.write(b" ")


@pytest.mark.parametrize(
    ("behave", "faults"),
    [
        (hang, {VaultFault.TIMEOUT}),
        (reset, {VaultFault.CONNECTION}),
        (half, {VaultFault.PROTOCOL}),
        (dribble, {VaultFault.TIMEOUT}),
        (answering(200, b"<html>"), {VaultFault.PROTOCOL}),
        (answering(200, b"[1]"), {VaultFault.PROTOCOL}),
        (answering(200, b'{"lease_duration": "long"}'), {VaultFault.PROTOCOL}),
    ],
)
async def test_broken_answers_end_once_and_may_have_left_something(
    behave: Callable[[Any], None], faults: set[VaultFault]
) -> None:
    error, requests = await failing(behave)
    assert error.fault in faults
    assert error.ambiguous
    assert requests == 1


async def test_an_answer_without_end_is_cut_off() -> None:
    def flood(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 30))
        handler.end_headers()
        for _ in range(1 << 10):
            handler.wfile.write(b" " * (1 << 20))

    with serving(flood) as server:
        async with client_of(server.address, request_timeout_s=5.0) as client:
            with pytest.raises(VaultError, match="more than 4194304 bytes"):
                await client.call("GET", "x")


async def test_nobody_there_is_known_to_have_left_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client_of(f"http://127.0.0.1:{taken.getsockname()[1]}") as client:
            with pytest.raises(VaultError) as raised:
                await client.call("GET", "x")
    assert raised.value.fault is VaultFault.UNREACHABLE
    assert not raised.value.ambiguous


async def test_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".vault-token").write_text("from-home")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login l password p")
    for name, value in {
        "HOME": str(tmp_path),
        "VAULT_TOKEN": "from-environment",
        "BAO_TOKEN": "from-environment",
        "VAULT_NAMESPACE": "elsewhere",
        "VAULT_CLIENT_CERT": str(tmp_path / "none"),
        "VAULT_CLIENT_KEY": str(tmp_path / "none"),
        "HTTP_PROXY": "http://127.0.0.1:1",
        "REQUESTS_CA_BUNDLE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    with serving(answering(200)) as server:
        async with client_of(server.address) as client:
            await client.call("GET", "x")
    headers = server.requests[0][1]
    assert not {"x-vault-token", "x-vault-namespace", "authorization"} & headers.keys()


def test_the_guesser_of_encodings_is_not_loaded_and_can_be_by_others() -> None:
    script = (
        "import sys; import sidecar.secrets.vault.transport; print('charset_normalizer' in sys.modules);"
        "import charset_normalizer; print('charset_normalizer' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run([*command, "-out", str(certificate), "-keyout", str(key)], check=True, capture_output=True)
    return certificate, key


async def test_tls_trusts_the_given_authorities_only(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(answering(200)) as server:
        port = int(server.address.rpartition(":")[2])
        proxy = await _tls_in_front_of(port, context)
        address = f"https://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        async with client_of(address, ca_cert=certificate[0]) as client:
            assert (await client.call("GET", "x")).status == 200
        async with client_of(address, ca_cert=Path(ssl.get_default_verify_paths().openssl_cafile)) as client:
            with pytest.raises(VaultError) as raised:
                await client.call("GET", "x", token=TOKEN)
        proxy.close()
    assert raised.value.fault is VaultFault.TLS
    assert len(server.requests) == 1


async def test_tls_that_fails_after_the_request_was_read_may_have_left_something(
    certificate: tuple[Path, Path],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer_with_no_record() -> None:
        connection, _ = listener.accept()
        plain = connection.dup()
        with plain, context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            plain.sendall(b"this is no TLS record at all")
            with contextlib.suppress(OSError):
                secured.recv(4096)

    with listener, ThreadPoolExecutor(1) as pool:
        answered = pool.submit(answer_with_no_record)
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
        async with client_of(address, ca_cert=certificate[0]) as client:
            with pytest.raises(VaultError) as raised:
                await client.call("GET", "x", token=TOKEN)
        answered.result(10)
    assert (raised.value.fault, raised.value.ambiguous) == (VaultFault.TLS, True)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("secret/data/a#b", "/v1/secret/data/a%23b"),
        ("secret/data/what?x=1", "/v1/secret/data/what%3Fx%3D1"),
        ("secret/data/pct%2Fslash", "/v1/secret/data/pct%252Fslash"),
        ("secret/data/with space+%", "/v1/secret/data/with%20space%2B%25"),
        ("auth/team/a/login", "/v1/auth/team/a/login"),
    ],
)
async def test_a_path_is_asked_for_letter_by_letter(path: str, asked: str) -> None:
    with serving(answering(200)) as server:
        async with client_of(server.address) as client:
            await client.call("GET", path)
    assert server.requests[0][0] == asked


async def _tls_in_front_of(port: int, context: ssl.SSLContext) -> Any:
    import asyncio  # noqa: PLC0415 - this helper's alone

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True)

    return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)


def test_an_idle_connection_whose_server_is_gone_ends_by_itself() -> None:
    from sidecar.secrets.vault.transport import _KeptAlive  # noqa: PLC0415 - it takes long to load

    options = _KeptAlive().poolmanager.connection_pool_kw["socket_options"]
    assert (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 15_000) in options
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options
