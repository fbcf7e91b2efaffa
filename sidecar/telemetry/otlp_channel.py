"""The connection to the collector: TLS, headers, reconnects."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from sidecar.telemetry.otlp_settings import OtlpSettings, parse_endpoint

USER_AGENT = "OTel-OTLP-Exporter-Broker-Sidecar/0.1"
_COMPRESSION = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}


def open_channel(settings: OtlpSettings) -> grpc.aio.Channel:
    """A channel to the collector; the caller closes it.

    Several addresses behind one name share the requests. gRPC's own pause between connection attempts grows to two
    minutes; it is capped at ours, for it is how late a collector that is back would be noticed.

    Raises:
        OSError: a certificate or key file cannot be read.
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
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(settings.certificate_file),
        private_key=_read(settings.client_key_file),
        certificate_chain=_read(settings.client_certificate_file),
    )
    return grpc.aio.secure_channel(endpoint.target, credentials, options=options, compression=compression)


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()


class HeadersError(Exception):
    """The file with secret headers cannot be read; the text never has a value of it."""


@dataclass(slots=True)
class Headers:
    """Metadata of each request: the settings' headers, then those of a file that is read again when it changes."""

    settings: OtlpSettings
    _known: tuple[int, int] = (-1, -1)
    _metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Pairs of lower-case name and value.

        Raises:
            HeadersError: the file is missing or has a line that is not `name=value`.
        """
        path = self.settings.headers_file
        plain = tuple((name.lower(), value) for name, value in self.settings.headers.items())
        if path is None:
            return plain
        try:
            stat = path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._known:
                self._metadata = parse_headers(path.read_text(encoding="utf-8"), str(path))
                self._known = (stat.st_mtime_ns, stat.st_ino)
        except OSError as error:
            raise HeadersError(f"{path}: cannot be read ({error.strerror})") from error
        return plain + self._metadata


def parse_headers(text: str, where: str) -> tuple[tuple[str, str], ...]:
    """`name=value` lines; blank lines and lines that begin with # are nothing.

    Raises:
        HeadersError: a line has no `=` or no name.
    """
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            raise HeadersError(f"{where}: line {number} is not name=value")
        found.append((name.strip().lower(), value.strip()))
    return tuple(found)
