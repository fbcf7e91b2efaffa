"""A secret that was read, as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.secrets.publish import Content
from sidecar.secrets.schedule import NEVER, Life


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a secret was read as.

    `sessions` are the tokens whose end is its end. `carried`: a predecessor's files, which stand in until the
    secret is read.
    """

    version: str
    files: Mapping[str, Content] = field(repr=False)
    life: Life
    lease_id: str = field(default="", repr=False)
    sessions: frozenset[int] = frozenset()
    expires_at: datetime | None = None
    read_at: datetime | None = None
    refresh_at: float = NEVER
    first_ttl_s: float = 0.0
    carried: bool = False


Materials = Mapping[str, Material]


def versions(materials: Materials) -> dict[str, str]:
    """Version by name."""
    return {name: item.version for name, item in materials.items()}


def leases(materials: Materials) -> frozenset[str]:
    """Ids of all leases."""
    return frozenset(item.lease_id for item in materials.values() if item.lease_id)


def sessions(materials: Materials) -> frozenset[int]:
    """Numbers of all sessions that something depends on."""
    return frozenset(number for item in materials.values() for number in item.sessions)
