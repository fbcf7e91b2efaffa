"""Client of the collector: a channel with TLS and headers, and requests repeated until their answer is final."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Protocol

import grpc

from pod_runtime.backoff import Backoff
from pod_runtime.version import VERSION
from sidecar.export.settings import OtlpSettings, header_fault, parse_endpoint
from sidecar.export.status import SignalStatus
from sidecar.export.verdict import ExportFailure, ExportVerdict, judge

USER_AGENT = f"OTel-OTLP-Exporter-Broker-Sidecar/{VERSION}"
# For calls that are under way when the channel closes: their records are sent again, so that none is worth a wait.
CLOSE_S = 0.1
_COMPRESSION = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
Stamp = tuple[tuple[int, int], ...]
"""Times and inodes of files: a changed file has another one."""
Metadata = tuple[tuple[str, str], ...]


class SetupError(Exception):
    """A file that a request needs cannot be used; the text never has a secret."""

    reason: ClassVar[str]


class HeadersError(SetupError):
    """The file with secret headers cannot be used."""

    reason = "headers_file"


class CertificateError(SetupError):
    """A certificate or key file cannot be used."""

    reason = "certificate_file"


class ReopenedError(SetupError):
    """The channel was closed under a request, for a newer one."""

    reason = "reopened"


@dataclass(slots=True)
class Signal:
    """Logs or metrics: their gRPC method with the class of its response, and the figures of their export."""

    name: str
    path: str
    response: Any
    status: SignalStatus


class RequestObserver(Protocol):
    """Listener for the outcome of each request."""

    def observe_request(self, signal: str, outcome: str, seconds: float) -> None:
        """Record a request: `outcome` is `ok` or the reason of its failure."""


class CollectorClient:
    """Sends serialised requests. Logs and metrics share its channel; the owner calls `close`.

    `clock` gives nanoseconds since the epoch, `chance` a number in [0, 1) for the jitter of pauses.
    """

    def __init__(
        self,
        settings: OtlpSettings,
        *,
        clock: Callable[[], int],
        chance: Callable[[], float],
        observer: RequestObserver | None = None,
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._observer = observer
        self._backoff = Backoff(base_s=settings.backoff_base_s, cap_s=settings.backoff_cap_s)
        self._headers = Headers(settings)
        self._channel = CollectorChannel(settings)

    async def close(self) -> None:
        """End the channel, and the calls on it."""
        await self._channel.close()

    async def send(self, signal: Signal, data: bytes) -> Any:
        """The response, or the ExportFailure of data that the collector refuses for good.

        Waits for a collector that is away: only the caller's cancellation bounds that wait, each request by itself
        has `timeout_s`.
        """
        attempt = 0
        while True:
            answer = await self._try(signal, data)
            if not isinstance(answer, ExportFailure) or answer.verdict is ExportVerdict.REFUSE:
                return answer
            delay_s = answer.retry_after_s
            if delay_s is None:
                delay_s = self._backoff.delay_s(attempt, self._chance())
            attempt += 1
            signal.status.retries += 1
            await asyncio.sleep(delay_s)

    async def _try(self, signal: Signal, data: bytes) -> Any:
        signal.status.requests += 1
        began = perf_counter()
        try:
            response = await self._channel.call(signal.path, signal.response, data, self._headers.metadata())
        except grpc.aio.AioRpcError as error:
            failure = judge(error.code(), error.details() or "", error.trailing_metadata() or ())
        except SetupError as error:
            failure = ExportFailure(ExportVerdict.HOLD, error.reason, str(error))
        else:
            self._observe(signal, "ok", began)
            signal.status.succeed(signal.name, self._clock())
            return response
        self._observe(signal, failure.reason, began)
        signal.status.fail(signal.name, failure, self._clock())
        await self._channel.reopen_if_changed()
        return failure

    def _observe(self, signal: Signal, outcome: str, began: float) -> None:
        if self._observer is not None:
            self._observer.observe_request(signal.name, outcome, perf_counter() - began)


@dataclass(slots=True)
class CollectorChannel:
    """The gRPC channel, opened for the first call and anew when a certificate file has changed."""

    settings: OtlpSettings
    _channel: grpc.aio.Channel | None = None
    _stamp: Stamp = ()

    async def call(self, path: str, response: Any, data: bytes, metadata: Metadata) -> Any:
        """The collector's answer to serialised bytes.

        Raises:
            grpc.aio.AioRpcError: it refuses, or does not answer within `timeout_s`.
            SetupError: a certificate or key file cannot be read, or changed meanwhile.
        """
        if self._channel is None:
            # Before the files are read: one that changes in between is noticed later, never missed.
            self._stamp = _stamp(self._files())
            self._channel = open_channel(self.settings)
        method: Any = self._channel.unary_unary(path, response_deserializer=response.FromString)
        try:
            return await method(data, timeout=self.settings.timeout_s, metadata=metadata)
        except asyncio.CancelledError:
            # gRPC raises the same for a channel that was closed as for a task that was cancelled.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ReopenedError("the channel was opened anew, for a certificate file changed") from None

    async def reopen_if_changed(self) -> None:
        """Close a channel whose certificate files have changed; the next call opens another.

        Called after a failure only: while calls succeed, TLS need not be negotiated again, and no file is asked for.
        """
        if self._channel is not None and _stamp(self._files()) != self._stamp:
            await self.close()

    async def close(self) -> None:
        """End the channel, and the calls on it."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(CLOSE_S)

    def _files(self) -> Iterable[Path]:
        settings = self.settings
        files = (settings.certificate_file, settings.client_certificate_file, settings.client_key_file)
        return (path for path in files if path is not None)


def open_channel(settings: OtlpSettings) -> grpc.aio.Channel:
    """A channel to the collector; the caller closes it.

    Raises:
        CertificateError: a certificate or key file cannot be read.
    """
    endpoint = parse_endpoint(settings.endpoint)
    cap_ms = int(settings.backoff_cap_s * 1000)
    options = [
        ("grpc.primary_user_agent", USER_AGENT),
        # gRPC's own pause between connection attempts grows to two minutes, and a collector that is back would be
        # noticed as late: https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md
        ("grpc.initial_reconnect_backoff_ms", min(500, cap_ms)),
        ("grpc.min_reconnect_backoff_ms", min(500, cap_ms)),
        ("grpc.max_reconnect_backoff_ms", cap_ms),
        # Several addresses behind one name (a headless service) share the requests.
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
        # `send` repeats requests, with our figures and pauses.
        ("grpc.enable_retries", 0),
    ]
    compression = _COMPRESSION[settings.compression]
    if not endpoint.tls:
        return grpc.aio.insecure_channel(endpoint.target, options=options, compression=compression)
    return grpc.aio.secure_channel(endpoint.target, credentials(settings), options=options, compression=compression)


def credentials(settings: OtlpSettings) -> grpc.ChannelCredentials:
    """TLS credentials from the settings' files.

    Raises:
        CertificateError: a file cannot be read.
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
    # The inode, too: Kubernetes replaces a mounted secret by a rename, and its times may be the same.
    return tuple((stat.st_mtime_ns, stat.st_ino) for stat in (path.stat() for path in paths if path.exists()))


@dataclass(slots=True)
class Headers:
    """Metadata of each request: headers of the settings, then those of a file that is read again when it changes."""

    settings: OtlpSettings
    _known: Stamp = ()
    _metadata: Metadata = field(default=(), repr=False)

    def metadata(self) -> Metadata:
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


def parse_headers(text: str, where: str) -> Metadata:
    """Read `name=value` lines; blank lines and lines that begin with # are skipped.

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
