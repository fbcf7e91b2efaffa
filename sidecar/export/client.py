"""Client of the collector: a channel with TLS and headers, and requests repeated until their answer is final."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import grpc

from pod_runtime import VERSION
from pod_runtime.backoff import Backoff
from pod_runtime.cancellation import check_cancelled
from sidecar.export.settings import OtlpSettings, header_fault, parse_endpoint
from sidecar.export.status import SignalStatus
from sidecar.export.verdict import ExportFailure, ExportVerdict, judge

USER_AGENT = f"OTel-OTLP-Exporter-Broker-Sidecar/{VERSION}"
# For calls that are under way when the channel closes: their records are sent again, so that none is worth a wait.
CLOSE_S = 0.1
RESOLVE_MS = 5000
COMPRESSION = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
# By default gRPC takes a proxy from `http_proxy` and others, in lower case only. Nothing else here does.
NO_PROXY = ("grpc.enable_http_proxy", 0)
Stamp = tuple[tuple[int, int], ...]
"""Times and inodes of files: a changed file has another one."""
Metadata = tuple[tuple[str, str], ...]


class SetupError(Exception):
    """A request cannot be sent; the text never has a secret.

    `reason` is `headers_file`, `certificate_file`, or `reopened`: its channel was closed under it, for a newer one.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


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


@dataclass(eq=False)
class CollectorClient:
    """Sends serialised requests. Logs and metrics share its `channel`, which the owner closes.

    `clock` gives nanoseconds since the epoch, `chance` a number in [0, 1) for the jitter of pauses.
    """

    settings: OtlpSettings
    _: KW_ONLY
    clock: Callable[[], int]
    chance: Callable[[], float]
    observer: RequestObserver | None = None

    def __post_init__(self) -> None:
        self._backoff = Backoff(base_s=self.settings.backoff_base_s, cap_s=self.settings.backoff_cap_s)
        self._headers = Headers(self.settings)
        self.channel = CollectorChannel(self.settings)

    async def send(self, signal: Signal, data: bytes) -> Any:
        """The response, or the ExportFailure of data that the collector refuses for good.

        Waits for a collector that is away: only the caller's cancellation bounds that wait, each request by itself
        has `timeout_s`.
        """
        attempt = 0
        while True:
            check_cancelled()
            answer = await self._try(signal, data)
            if not isinstance(answer, ExportFailure) or answer.verdict is ExportVerdict.REFUSE:
                return answer
            signal.status.retries += 1
            asked_s = answer.retry_after_s
            await asyncio.sleep(self._backoff.delay_s(attempt, self.chance()) if asked_s is None else asked_s)
            attempt += 1

    async def _try(self, signal: Signal, data: bytes) -> Any:
        signal.status.requests += 1
        began = perf_counter()
        response, failure = None, None
        try:
            response = await self.channel.call(signal.path, signal.response, data, self._headers.metadata())
            if response is None:  # gRPC's word for an answer that its deserializer did not take
                failure = judge(grpc.StatusCode.OK, "the answer is no OTLP response", ())
        except grpc.aio.AioRpcError as error:
            failure = judge(error.code(), error.details() or "", error.trailing_metadata() or ())
        except SetupError as error:
            failure = ExportFailure(ExportVerdict.HOLD, error.reason, str(error))
        if self.observer is not None:
            outcome = "ok" if failure is None else failure.reason
            self.observer.observe_request(signal.name, outcome, perf_counter() - began)
        signal.status.record(signal.name, failure, self.clock())
        if failure is not None:
            await self.channel.reopen_if_changed()
        return response if failure is None else failure


@dataclass(slots=True)
class CollectorChannel:
    """The gRPC channel, opened for the first call, anew when a certificate file has changed, and after a deadline.

    A connection whose other end is gone without a word looks as one to a slow collector does, for as long as the
    kernel repeats what was sent: a quarter of an hour (tcp(7), tcp_retries2). Pings of ours would find out, but a
    collector ends connections that ping more often than it allows. So a call that met its deadline costs the
    connection, and the calls that still wait on it have theirs.
    """

    settings: OtlpSettings
    _channel: grpc.aio.Channel | None = None
    _replaced: grpc.aio.Channel | None = None
    """Channel of calls that were under way when the current one was opened."""
    _stamp: Stamp = ()

    async def call(self, path: str, response: Any, data: bytes, metadata: Metadata) -> Any:
        """The collector's answer to serialised bytes.

        Raises:
            grpc.aio.AioRpcError: it refuses, or does not answer within `timeout_s`.
            SetupError: a certificate or key file cannot be read, or changed meanwhile.
        """
        if self._channel is None:
            try:
                # Before the files are read: one that changes in between is noticed later, never missed.
                self._stamp = _stamp(self._files())
            except OSError as error:
                raise SetupError("certificate_file", f"cannot be looked at ({error.strerror})") from error
            self._channel = open_channel(self.settings)
        channel = self._channel
        method: Any = channel.unary_unary(path, response_deserializer=response.FromString)
        try:
            return await method(data, timeout=self.settings.timeout_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            # Once for the calls that were sent together: the later ones find another channel.
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and channel is self._channel:
                await self._replace()
            raise
        except asyncio.CancelledError:
            # gRPC raises the same for a channel that was closed as for a task that was cancelled.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise SetupError("reopened", "the channel was opened anew, for a certificate file changed") from None

    async def reopen_if_changed(self) -> None:
        """Close a channel whose certificate files have changed; the next call opens another.

        Called after a failure only: while calls succeed, TLS need not be negotiated again, and no file is asked for.
        """
        if self._channel is None:
            return
        try:
            changed = _stamp(self._files()) != self._stamp
        except OSError:
            return  # the next failure looks again
        if changed:
            await self.close()

    async def _replace(self) -> None:
        """Let the next call open another channel; calls on this one may end until the next replacement."""
        replaced, self._replaced, self._channel = self._replaced, self._channel, None
        if replaced is not None:
            await replaced.close(CLOSE_S)

    async def close(self) -> None:
        """End the channels, and the calls on them."""
        channels, self._channel, self._replaced = (self._channel, self._replaced), None, None
        for channel in channels:
            if channel is not None:
                await channel.close(CLOSE_S)

    def _files(self) -> Iterable[Path]:
        settings = self.settings
        files = (settings.certificate_file, settings.client_certificate_file, settings.client_key_file)
        return (path for path in files if path is not None)


def open_channel(settings: OtlpSettings) -> grpc.aio.Channel:
    """A channel to the collector; the caller closes it. Raises SetupError for a file that cannot be read."""
    endpoint = parse_endpoint(settings.endpoint)
    cap_ms = int(settings.backoff_cap_s * 1000)
    options = [
        ("grpc.primary_user_agent", USER_AGENT),
        # gRPC's own pause between connection attempts grows to two minutes, and a collector that is back would be
        # noticed as late: https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md
        ("grpc.initial_reconnect_backoff_ms", min(500, cap_ms)),
        ("grpc.min_reconnect_backoff_ms", min(500, cap_ms)),
        ("grpc.max_reconnect_backoff_ms", cap_ms),
        # gRPC asks for the name's addresses at most each 30 s by default, and a collector may have moved since.
        ("grpc.dns_min_time_between_resolutions_ms", RESOLVE_MS),
        # Several addresses behind one name (a headless service) share the requests.
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
        # `send` repeats requests, with our figures and pauses.
        ("grpc.enable_retries", 0),
        # Else a new channel would go on with the old one's connections.
        ("grpc.use_local_subchannel_pool", 1),
        NO_PROXY,
    ]
    compression = COMPRESSION[settings.compression]
    if not endpoint.tls:
        return grpc.aio.insecure_channel(endpoint.target, options=options, compression=compression)
    return grpc.aio.secure_channel(endpoint.target, credentials(settings), options=options, compression=compression)


def credentials(settings: OtlpSettings) -> grpc.ChannelCredentials:
    """TLS credentials from the settings' files. Raises SetupError: a file cannot be read."""
    return grpc.ssl_channel_credentials(
        root_certificates=_read(settings.certificate_file),
        private_key=_read(settings.client_key_file),
        certificate_chain=_read(settings.client_certificate_file),
    )


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise SetupError("certificate_file", f"{path}: cannot be read ({error.strerror})") from error


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

        Raises SetupError: the file is missing or has a line that is no header.
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
            raise SetupError("headers_file", f"{path}: cannot be read ({error.strerror})") from error
        return plain + self._metadata


def parse_headers(text: str, where: str) -> Metadata:
    """Read `name=value` lines; blank lines and lines that begin with # are skipped.

    Raises SetupError: a line is no header that gRPC can send.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        fault = header_fault(name, value) if equals else "is not name=value"
        if fault:
            raise SetupError("headers_file", f"{where}: line {number} {fault}")
        found.append((name.lower(), value))
    return tuple(found)
