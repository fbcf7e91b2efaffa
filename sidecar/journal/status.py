"""How the journal is: what health, console and metrics are told of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatus:
    """The journal at one moment."""

    bytes_used: int
    bytes_limit: int
    segments: int
    damaged_bytes: int
    damaged_segments: int
    torn_bytes: int
    error: str
    """Why the volume takes nothing now; empty while it does."""
    error_since_ns: int
    checkpoint_ns: int
    """When the last checkpoint was written; 0 for not yet."""
    checkpoint_error: str
    replayed_batches: int
    unreadable_records: int
    """Records of the journal that the replay could make nothing of."""
