"""Settings of the telemetry path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pod_runtime.config import setting
from pod_runtime.ports import check_socket_path


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Section `telemetry`: intake of events from producers, and their journal."""

    socket: Path = setting(
        Path("/run/telemetry/telemetry.sock"),
        doc="Unix socket that producers connect to; its directory must be closed to other users (0700 or 0770)",
    )
    journal_directory: Path = setting(
        Path("/var/lib/sidecar/journal"),
        doc="directory of the journal, in which events wait for export, and of the checkpoint; for one sidecar only",
    )
    journal_bytes: int = setting(
        256 << 20,
        minimum=1 << 20,
        doc="most bytes of the journal; when it is full, the oldest log records that wait for export are dropped",
    )
    producer_quota_ratio: float = setting(
        0.5,
        minimum=0.01,
        maximum=1,
        doc="part of journal_bytes for waiting log records of one producer: when the journal is full, "
        "records of producers beyond it are dropped before those of others",
    )
    segment_bytes: int = setting(
        8 << 20, minimum=64 << 10, doc="bytes after which a new segment begins; the journal frees whole segments"
    )
    durability: str = setting(
        "process",
        choices=("none", "process", "disk"),
        doc="none: the journal is in memory, all of journal_bytes; process: an acknowledged event survives a kill of "
        "the process; disk: it survives a loss of power",
    )
    checkpoint_interval_s: float = setting(
        5.0, minimum=0.05, doc="seconds between checkpoints; a restart replays the journal from the last one"
    )
    checkpoint_bytes: int = setting(
        64 << 20, minimum=64 << 10, doc="journal bytes after which a checkpoint is written early, to bound the replay"
    )
    max_series: int = setting(
        2000, minimum=1, doc="most series of one instrument of one producer (OpenTelemetry's default); more overflow"
    )
    max_producer_series: int = setting(50_000, minimum=1, doc="most series of one producer; more overflow")
    max_instruments: int = setting(1000, minimum=1, doc="most instruments of one producer; more are refused")
    idle_expiry_s: float = setting(
        86_400.0, minimum=0, doc="seconds without a measurement after which a series is forgotten; 0 disables this"
    )
    session_retention_s: float = setting(
        604_800.0, minimum=60, doc="seconds after its last event that a session's sequence is remembered"
    )
    session_grace_s: float = setting(
        60.0, minimum=1, doc="seconds that gauges of a producer stay once its stream broke; Goodbye ends them at once"
    )
    max_sessions: int = setting(10_000, minimum=1, doc="most sessions remembered; the longest idle go first")
    max_producers: int = setting(16, minimum=1, doc="most producers at once; one more gets RESOURCE_EXHAUSTED")
    allowed_producers: tuple[str, ...] = setting((), doc="producer ids that may connect; empty: any")
    max_streams: int = setting(
        8, minimum=1, doc="most streams of one producer at once: its own, and those that deliver what it left"
    )
    heartbeat_timeout_s: float = setting(
        5.0,
        minimum=0.1,
        doc="seconds without a message after which another session of its id may take a producer's place",
    )
    window_bytes: int = setting(4 << 20, minimum=64 << 10, doc="most bytes of unacknowledged batches of a producer")
    heartbeat_interval_ms: int = setting(1000, minimum=50, doc="milliseconds between heartbeats of a producer")
    max_message_bytes: int = setting(
        4 << 20, minimum=4096, maximum=64 << 20, doc="most bytes of one message (4 MiB is gRPC's default)"
    )
    max_batch_events: int = setting(8192, minimum=1, maximum=1 << 20, doc="most events of one batch")
    max_event_types: int = setting(256, minimum=1, maximum=65_535, doc="most event types of one stream")
    max_fields: int = setting(64, minimum=1, maximum=1024, doc="most fields of one event type")
    max_string_bytes: int = setting(16_384, minimum=64, doc="most bytes of one string value; longer ones are cut")
    ack_delay_ms: float = setting(
        2.0, minimum=0, maximum=1000, doc="milliseconds that an acknowledgement waits so that it covers more batches"
    )
    memory_bytes: int = setting(
        8 << 20, minimum=0, doc="most bytes of recent batches kept parsed for export; it reads older ones again"
    )
    drain_s: float = setting(
        2.0, minimum=0, doc="seconds for producers to end their streams when the sidecar stops; otlp.drain_s follows"
    )
    tcp_address: str = setting("", doc="host:port for producers on other machines, with mutual TLS; empty: none")
    tcp_certificate_file: Path | None = setting(None, doc="server certificate chain (PEM) for tcp_address")
    tcp_key_file: Path | None = setting(None, doc="key (PEM) of tcp_certificate_file")
    tcp_client_ca_file: Path | None = setting(None, doc="authorities (PEM) of the producers' certificates")
    reflection: bool = setting(False, doc="serve gRPC reflection")

    def __post_init__(self) -> None:
        check_socket_path(self.socket)
        # The Unix socket is protected by its directory; a TCP port would take events from anybody who reaches it.
        tls = (self.tcp_certificate_file, self.tcp_key_file, self.tcp_client_ca_file)
        if self.tcp_address and None in tls:
            raise ValueError(
                "tcp_address needs tcp_certificate_file, tcp_key_file and tcp_client_ca_file: "
                "producers over TCP are let in by mutual TLS only"
            )
        # The segment that is written cannot be deleted: with one, a full journal could never be freed.
        if self.journal_bytes < 2 * self.segment_bytes:
            raise ValueError("journal_bytes must hold two segments: raise it or lower segment_bytes")
