"""Sockets of the gRPC server: a Unix socket, and by option TCP with mutual TLS."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
from grpc import aio

from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb

_log = logging.getLogger(__name__)

AddServices = Callable[[aio.Server], None]
"""Adds other services to the server, such as grpc.health.v1."""

KEEPALIVE_MS, KEEPALIVE_LOST_MS = 20_000, 10_000
OPTIONS = (
    # Else a second sidecar could bind the same TCP port, and producers would reach either.
    ("grpc.so_reuseport", 0),
    # A producer may send keepalive pings as often as it likes; by default gRPC ends its connection after two.
    ("grpc.http2.max_ping_strikes", 0),
    # A producer whose machine or network is gone says nothing: its connection would stay until the kernel gives up.
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_LOST_MS),
)
CONNECT_DEADLINE_S = 1.0


class SocketError(OSError):
    """The socket cannot be opened; the message names the cause and the remedy."""


def prepare_socket(path: Path) -> None:
    """Create the socket's directory, and remove a socket on which nobody answers.

    The directory's mode keeps other users out: a gRPC server in Python cannot read SO_PEERCRED (unix(7)).

    Raises:
        SocketError: the directory is open to others, another sidecar listens, or another file is in the way.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.parent.stat().st_mode)
    if mode & 0o007:
        text = f"{path.parent} is open to every user (mode {mode:04o}): make it 0700, or 0770 with a common group"
        raise SocketError(errno.EPERM, text)
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise SocketError(errno.EEXIST, f"{path} is in the way and is no socket: remove it")
    if _answers(path):
        raise SocketError(errno.EADDRINUSE, f"another process listens on {path}: only one sidecar serves a socket")
    # Nobody listens: its sidecar was killed, and bind(2) refuses a name that exists.
    path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_DEADLINE_S)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):
            # It has a listener with a full backlog: busy, and alive. A socket with a time-out says EAGAIN (unix(7)).
            return True
        return True


def build(
    settings: TelemetrySettings, handler: grpc.GenericRpcHandler, services: Sequence[AddServices]
) -> tuple[aio.Server, str]:
    """Bind a server without starting it; return it with its TCP address (empty without one).

    Raises:
        SocketError: see `prepare_socket`.
        OSError: a certificate cannot be read.
    """
    # All that may fail before anything is bound: a second attempt would find the first one's socket.
    credentials = _credentials(settings)
    prepare_socket(settings.socket)
    options = [*OPTIONS, ("grpc.max_receive_message_length", settings.max_message_bytes)]
    server = aio.server(options=options)
    server.add_generic_rpc_handlers((handler,))
    for add in services:
        add(server)
    if settings.reflection:
        from grpc_reflection.v1alpha import reflection  # noqa: PLC0415 - off by default, and it takes memory

        names = [item.full_name for item in pb.DESCRIPTOR.services_by_name.values()]
        reflection.enable_server_reflection([*names, "grpc.health.v1.Health", reflection.SERVICE_NAME], server)
    server.add_insecure_port(f"unix:{settings.socket}")
    # gRPC made it by the umask. A common group may write: a broker in another container has another user.
    settings.socket.chmod(0o660)
    return server, _listen_on_tcp(settings, server, credentials) if credentials is not None else ""


class _Certificates:
    """Files of the TCP listener's certificate and of the producers' authorities, read again at each handshake."""

    def __init__(self, settings: TelemetrySettings) -> None:
        files = (settings.tcp_key_file, settings.tcp_certificate_file, settings.tcp_client_ca_file)
        self._files = [path for path in files if path is not None]
        self._used: list[bytes] = []

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Read the files; raises OSError."""
        self._used = key, certificate, authorities = [path.read_bytes() for path in self._files]
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)

    def replaced(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the files' content if it changed; gRPC keeps what it has if it cannot use it, or one is missing."""
        before = self._used
        try:
            found = self.read()
        except OSError as error:
            _log.warning("telemetry.certificate_unreadable", extra={"error": str(error)})
            return None
        return found if self._used != before else None


def _credentials(settings: TelemetrySettings) -> grpc.ServerCredentials | None:
    if not settings.tcp_address:
        return None
    certificates = _Certificates(settings)
    return grpc.dynamic_ssl_server_credentials(
        certificates.read(),
        certificates.replaced,  # type: ignore[arg-type] # the stubs lack None, which says that nothing changed
        require_client_authentication=True,
    )


def _listen_on_tcp(settings: TelemetrySettings, server: aio.Server, credentials: grpc.ServerCredentials) -> str:
    try:
        port = server.add_secure_port(settings.tcp_address, credentials)
    except RuntimeError as error:
        text = f"cannot listen on telemetry.tcp_address {settings.tcp_address}: {error}"
        raise SocketError(errno.EADDRINUSE, text) from error
    return f"{settings.tcp_address.rpartition(':')[0]}:{port}"
