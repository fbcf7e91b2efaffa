"""The connection to the collector: TLS, headers, reconnects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import grpc

from sidecar.export.settings import OtlpSettings, header_fault, parse_endpoint

USER_AGENT = "OTel-OTLP-Exporter-Broker-Sidecar/0.1"
CLOSE_S = 0.1
_COMPRESSION = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
Stamp = tuple[tuple[int, int], ...]


class SetupError(Exception):
    """A file that a request needs cannot be used; the text never has a secret."""

    reason: ClassVar[str]


class HeadersError(SetupError):
    """The file with secret headers."""

    reason = "headers_file"


class CertificateError(SetupError):
    """A certificate or key."""

    reason = "certificate_file"


class ReopenedError(SetupError):
    """The channel was closed under a request, for a newer one."""

    reason = "reopened"


@dataclass(slots=True)
class Connection:
    """The channel to the collector, opened when it is first needed and anew when a certificate file has changed.

    The owner calls `close`.
    """

    settings: OtlpSettings
    _channel: grpc.aio.Channel | None = None
    _stamp: Stamp = ()

    async def call(self, path: str, response: Any, data: bytes, metadata: tuple[tuple[str, str], ...]) -> Any:
        """The collector's answer to serialised bytes.

        Raises:
            grpc.aio.AioRpcError: it refuses, or does not answer in time.
            SetupError: a certificate or key file cannot be read, or changed meanwhile.
        """
        if self._channel is None:
            self._stamp = _stamp(self._files())
            self._channel = open_channel(self.settings)
        method: Any = self._channel.unary_unary(path, response_deserializer=response.FromString)
        try:
            return await method(data, timeout=self.settings.timeout_s, metadata=metadata)
        except asyncio.CancelledError:
            # gRPC says the same for a channel that was closed as for a task that was cancelled.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ReopenedError("the channel was opened anew, for a certificate file changed") from None

    async def mend(self) -> None:
        """After a failure: forgets a channel whose certificate files are not what they were."""
        if self._channel is not None and _stamp(self._files()) != self._stamp:
            await self.close()

    async def close(self) -> None:
        """Ends the channel, and the calls on it."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(CLOSE_S)

    def _files(self) -> Iterable[Path]:
        settings = self.settings
        files = (settings.certificate_file, settings.client_certificate_file, settings.client_key_file)
        return (path for path in files if path is not None)


def open_channel(settings: OtlpSettings) -> grpc.aio.Channel:
    """A channel to the collector; the caller closes it.

    Several addresses behind one name share the requests. gRPC's own pause between connection attempts grows to two
    minutes; it is capped at ours, for it is how late a collector that is back would be noticed.

    Raises:
        CertificateError: a certificate or key file cannot be read.
    """
    endpoint = parse_endpoint(settings.endpoint)
    cap_ms = int(settings.backoff_cap_s * 1000)
    options = [
        ("grpc.primary_user_agent", USER_AGENT),
        ("grpc.initial_reconnect_backoff_ms", min(500, cap_ms)),
        ("grpc.min_reconnect_backoff_ms", min(500, cap_ms)),
        ("grpc.max_reconnect_backoff_ms", cap_ms),
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
        ("grpc.enable_retries", 0),
    ]
    compression = _COMPRESSION[settings.compression]
    if not endpoint.tls:
        return grpc.aio.insecure_channel(endpoint.target, options=options, compression=compression)
    return grpc.aio.secure_channel(endpoint.target, credentials(settings), options=options, compression=compression)


def credentials(settings: OtlpSettings) -> grpc.ChannelCredentials:
    """TLS by the settings' files.

    Raises:
        CertificateError: one cannot be read.
    """
    return grpc.ssl_channel_credentials(
        root_certificates=_read(settings.certificate_file),
        private_key=_read(settings.client_key_file),
        certificate_chain=_read(settings.client_certificate_file),
    )


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read ({error.strerror})") from error


def _stamp(paths: Iterable[Path]) -> Stamp:
    """What changes when one of the files does."""
    return tuple((stat.st_mtime_ns, stat.st_ino) for stat in (path.stat() for path in paths if path.exists()))


@dataclass(slots=True)
class Headers:
    """Metadata of each request: the settings' headers, then those of a file that is read again when it changes."""

    settings: OtlpSettings
    _known: Stamp = ()
    _metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Pairs of lower-case name and value.

        Raises:
            HeadersError: the file is missing or has a line that is no header.
        """
        path = self.settings.headers_file
        plain = tuple((name.lower(), value) for name, value in self.settings.headers.items())
        if path is None:
            return plain
        try:
            stamp = _stamp([path])
            if not stamp or stamp != self._known:
                self._metadata = parse_headers(path.read_text(encoding="utf-8"), str(path))
                self._known = stamp
        except OSError as error:
            raise HeadersError(f"{path}: cannot be read ({error.strerror})") from error
        return plain + self._metadata


def parse_headers(text: str, where: str) -> tuple[tuple[str, str], ...]:
    """`name=value` lines; blank lines and lines that begin with # are nothing.

    Raises:
        HeadersError: a line is no header that gRPC can send.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        fault = header_fault(name, value) if equals else "is not name=value"
        if fault:
            raise HeadersError(f"{where}: line {number} {fault}")
        found.append((name.lower(), value))
    return tuple(found)
