"""Settings of the telemetry path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pod_runtime.config import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Section `telemetry`: what the sidecar takes from producers, and how it keeps it."""

    socket: Path = setting(
        Path("/run/telemetry/telemetry.sock"),
        doc="Unix socket that producers connect to; its directory must be closed to other users (0700 or 0770)",
    )
    journal_directory: Path = setting(
        Path("/var/lib/sidecar/journal"),
        doc="where events wait for their export, and the metrics' checkpoint lies; nobody else's",
    )
    journal_bytes: int = setting(
        256 << 20,
        minimum=1 << 20,
        doc="bytes that the journal may take; when full, the oldest log records that wait for export go first",
    )
    producer_quota_ratio: float = setting(
        0.5,
        minimum=0.01,
        maximum=1,
        doc="part of journal_bytes that waiting log records of one producer may take: when the journal is full, "
        "those of producers beyond it go before anybody else's",
    )
    segment_bytes: int = setting(
        8 << 20, minimum=64 << 10, doc="bytes after which a new segment begins; the journal is freed by segments"
    )
    durability: str = setting(
        "process",
        choices=("none", "process", "disk"),
        doc="what an acknowledged event survives: nothing (the journal is in memory, all of journal_bytes), "
        "a kill of the process, a loss of power",
    )
    checkpoint_interval_s: float = setting(
        5.0, minimum=0.05, doc="seconds between checkpoints; a restart replays what came since"
    )
    checkpoint_bytes: int = setting(
        64 << 20, minimum=64 << 10, doc="journal bytes after which a checkpoint is written early: bounds the replay"
    )
    max_series: int = setting(
        2000, minimum=1, doc="series of one instrument of one producer (OpenTelemetry's default); more overflow"
    )
    max_producer_series: int = setting(
        50_000, minimum=1, doc="series of all instruments of one producer; more overflow"
    )
    max_instruments: int = setting(1000, minimum=1, doc="instruments of one producer; more are refused")
    idle_expiry_s: float = setting(
        86_400.0, minimum=0, doc="seconds without a measurement after which a series is forgotten; 0 never"
    )
    session_retention_s: float = setting(
        604_800.0, minimum=60, doc="seconds that the sequence of a session is remembered after its last event"
    )
    session_grace_s: float = setting(
        60.0,
        minimum=1,
        doc="seconds that the gauges of a producer stay after its stream broke; a Goodbye ends them at once",
    )
    max_sessions: int = setting(10_000, minimum=1, doc="sessions remembered; the longest idle ones go first")
    max_producers: int = setting(16, minimum=1, doc="producers connected at once; one more is RESOURCE_EXHAUSTED")
    allowed_producers: tuple[str, ...] = setting((), doc="producer ids that may connect; empty: any")
    window_bytes: int = setting(
        4 << 20, minimum=64 << 10, doc="bytes of batches that a producer may have unacknowledged"
    )
    heartbeat_interval_ms: int = setting(1000, minimum=50, doc="milliseconds in which a producer sends a heartbeat")
    max_message_bytes: int = setting(
        4 << 20, minimum=4096, maximum=64 << 20, doc="bytes of one message (4 MiB is gRPC's default)"
    )
    max_batch_events: int = setting(8192, minimum=1, maximum=1 << 20, doc="events of one batch")
    max_event_types: int = setting(256, minimum=1, maximum=65_535, doc="event types of one stream")
    max_fields: int = setting(64, minimum=1, maximum=1024, doc="fields of one event type")
    max_string_bytes: int = setting(16_384, minimum=64, doc="bytes of one string value; longer ones are cut")
    ack_delay_ms: float = setting(
        2.0, minimum=0, maximum=1000, doc="milliseconds that acknowledgements wait for company"
    )
    memory_bytes: int = setting(
        8 << 20, minimum=0, doc="bytes of recent batches kept parsed for the exporter; older ones are read again"
    )
    drain_s: float = setting(
        2.0,
        minimum=0,
        doc="seconds that streams have to end by themselves when the sidecar is told to stop; otlp.drain_s follows",
    )
    tcp_address: str = setting("", doc="host:port for producers on other machines, with mutual TLS; empty: none")
    tcp_certificate_file: Path | None = setting(None, doc="server certificate chain (PEM) for tcp_address")
    tcp_key_file: Path | None = setting(None, doc="key (PEM) of tcp_certificate_file")
    tcp_client_ca_file: Path | None = setting(None, doc="authorities (PEM) of the producers' certificates")
    reflection: bool = setting(False, doc="whether the gRPC server describes itself")

    def __post_init__(self) -> None:
        tls = (self.tcp_certificate_file, self.tcp_key_file, self.tcp_client_ca_file)
        if self.tcp_address and None in tls:
            raise ValueError(
                "tcp_address needs tcp_certificate_file, tcp_key_file and tcp_client_ca_file: "
                "producers over TCP are let in by mutual TLS only"
            )
        if self.journal_bytes < 2 * self.segment_bytes:
            raise ValueError("journal_bytes must hold two segments: raise it or lower segment_bytes")
