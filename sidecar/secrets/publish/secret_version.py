"""A secret that was read, as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sidecar.secrets.lease.schedule import NEVER, Life
from sidecar.secrets.publish.files import Content
from sidecar.secrets.vault.engines import Reading


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


def made_of(
    reading: Reading, *, session: int, max_ttl_s: float, now: float, wall: datetime, chance: float
) -> Material:
    """What was read, without files yet; `max_ttl_s` bounds a lease (0: not known)."""
    leased = bool(reading.lease_id)
    life = Life(
        start=now,
        born=now,
        ttl_s=reading.ttl_s,
        renewable=reading.renewable,
        chance=chance,
        last=now + max_ttl_s if max_ttl_s and leased else NEVER,
    )
    return Material(
        version=reading.version,
        files={},
        life=life,
        lease_id=reading.lease_id,
        sessions=frozenset({session}) if leased else frozenset(),
        expires_at=wall + timedelta(seconds=reading.ttl_s) if reading.ttl_s else None,
        read_at=wall,
        refresh_at=now + reading.refresh_s if reading.refresh_s else NEVER,
        first_ttl_s=reading.ttl_s,
    )


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
