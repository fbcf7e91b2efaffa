"""Settings of a producer: its way to the sidecar, and the spool that keeps events until they arrive."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pod_runtime.config import setting
from pod_runtime.ports import check_socket_path

_PRODUCER_ID = re.compile(r"[a-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerSettings:
    """Way of events to the sidecar, and the spool that holds them until then; ValueError if two values disagree."""

    socket: Path = setting(Path("/run/telemetry/telemetry.sock"), doc="Unix socket of the sidecar")
    producer_id: str = setting(doc="name of this producer, the same over restarts: counters belong to it; [a-z0-9._-]")
    spool_directory: Path = setting(
        Path("/var/lib/telemetry/spool"), doc="where events wait for their acknowledgement; outlives the process"
    )
    spool_bytes: int = setting(
        64 << 20, minimum=1 << 20, doc="bytes that the spool may take: half an hour at 200 events/s of 160 bytes"
    )
    segment_bytes: int = setting(
        1 << 20, minimum=1 << 16, doc="bytes of one spool file; the spool is freed file by file"
    )
    memory_bytes: int = setting(
        16 << 20, minimum=1 << 20, doc="bytes of events kept in memory while the spool's volume fails"
    )
    reserve_ratio: float = setting(
        0.25, minimum=0, maximum=0.9, doc="part of spool and memory that only events declared as reserved may use"
    )
    batch_age_ms: float = setting(
        5.0,
        minimum=0.1,
        maximum=1000,
        doc="longest time in milliseconds to wait for a batch to fill; up to eight times longer under load",
    )
    batch_events: int = setting(
        500, minimum=1, maximum=8192, doc="events of one batch; building one must not hold the event loop for 2 ms"
    )
    connect_deadline_s: float = setting(5.0, minimum=0.1, doc="seconds until the sidecar must answer a Hello")
    ack_deadline_s: float = setting(
        20.0, minimum=0.1, doc="seconds without an acknowledgement after which the stream is opened again"
    )
    backoff_s: float = setting(0.1, minimum=0.01, doc="seconds before the first repeated connection")
    backoff_cap_s: float = setting(5.0, minimum=0.01, doc="most seconds between two tries to connect")
    drain_s: float = setting(
        5.0, minimum=0, doc="seconds in which the last events must be acknowledged; the rest waits in the spool"
    )
    strict: bool = setting(
        default=False, doc="whether a misused event raises (development and tests) instead of being counted"
    )

    def __post_init__(self) -> None:
        check_socket_path(self.socket)
        if not _PRODUCER_ID.fullmatch(self.producer_id):
            raise ValueError(f"producer_id must be {_PRODUCER_ID.pattern}")
        # Two are the current and the spare one. With less than two others, freeing one file frees half of the room.
        if self.spool_bytes < 4 * self.segment_bytes:
            raise ValueError("spool_bytes must hold four segments: raise it or lower segment_bytes")
        if self.backoff_cap_s < self.backoff_s:
            raise ValueError("backoff_cap_s must be at least backoff_s")
