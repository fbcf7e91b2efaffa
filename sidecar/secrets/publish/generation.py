"""Generations: builds one from the secrets' versions, publishes it, and tracks which one is visible.

A generation is whole or it is not made: every secret is in it. Readers never combine a new password with the address
of an old server.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.secrets.acknowledge import Acknowledgements
from sidecar.secrets.errors import PublishError
from sidecar.secrets.lease.schedule import NEVER, Life
from sidecar.secrets.messages import AgentContext
from sidecar.secrets.publish.directory_swap import KEPT, FileContent, GenerationDirectory
from sidecar.secrets.publish.manifest import Manifest, ManifestEntry
from sidecar.secrets.vault.version import VersionMark


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """A version of a secret, as files.

    It ends with any of its `sessions`. `refresh_at` is boot time, `first_ttl_s` the life that its lease had at first.
    `carried`: a predecessor's files, which stand in until the secret is read.
    """

    version: str
    made_at: datetime | None = None
    files: Mapping[str, FileContent] = field(repr=False)
    life: Life
    lease_id: str = field(default="", repr=False)
    sessions: frozenset[int] = frozenset()
    expires_at: datetime | None = None
    read_at: datetime | None = None
    refresh_at: float = NEVER
    first_ttl_s: float = 0.0
    carried: bool = False

    @property
    def mark(self) -> VersionMark:
        """Its identity."""
        return VersionMark(version=self.version, made_at=self.made_at)


SecretVersions = Mapping[str, SecretVersion]


def sessions_of(versions: SecretVersions) -> frozenset[int]:
    """Return the numbers of all sessions that the versions depend on."""
    return frozenset(number for item in versions.values() for number in item.sessions)


class GenerationPublisher:
    """Publishes generations and removes old ones."""

    def __init__(self, context: AgentContext, acknowledgements: Acknowledgements) -> None:
        settings = context.settings
        owner = (settings.owner_uid, settings.owner_gid)
        self._directory = GenerationDirectory(settings.directory, owner=owner, require_tmpfs=settings.require_tmpfs)
        self._sources = {item.name: item.source for item in settings.secrets}
        self._grace_s = settings.grace_s
        self._acknowledgements, self._clock, self._trail = acknowledgements, context.clock, context.trail
        self._files: Mapping[str, FileContent] = {}
        self._grace: dict[str, float] = {}
        self._publishing = False
        self.manifest: Manifest | None = None
        self.counters: Counter[str] = Counter()

    @property
    def generation(self) -> int:
        """Number of the visible generation; 0 before the first."""
        return self.manifest.generation if self.manifest else 0

    def open(self, *, sessions: frozenset[int], leases: frozenset[str]) -> None:
        """Take over a predecessor's generation; any of the `sessions` and `leases` it held may be part of it."""
        self.manifest = self._directory.open()
        # The times of a predecessor's swaps are unknown, so each replaced generation gets a whole grace.
        self._grace = dict.fromkeys(self._directory.replaced(), self._clock.boot() + self._grace_s)
        if self.manifest:
            self._files = self._directory.contents()
            self._acknowledgements.fetched(self.generation, sessions=sessions, leases=leases)
            self._acknowledgements.published(self.generation)

    def carried(self, name: str, files: frozenset[str], *, sessions: frozenset[int]) -> SecretVersion | None:
        """Return a predecessor's version of a secret; None if the secret's files have other names by now."""
        entry = self.manifest.secrets.get(name) if self.manifest else None
        if entry is None or files != frozenset(entry.files) or not files <= self._files.keys():
            return None
        return SecretVersion(
            version=entry.version,
            files={file: self._files[file] for file in entry.files},
            life=Life.issued(0.0, 0.0, renewable=False, chance=0.0),
            sessions=sessions,
            expires_at=datetime.fromisoformat(entry.expires_at) if entry.expires_at else None,
            carried=True,
        )

    async def publish(self, versions: SecretVersions) -> None:
        """Make a generation visible unless it equals the visible one, or raise PublishError."""
        files = {name: content for item in versions.values() for name, content in item.files.items()}
        sessions = sessions_of(versions)
        leases = frozenset(item.lease_id for item in versions.values() if item.lease_id)
        visible = {name: entry.version for name, entry in self.manifest.secrets.items()} if self.manifest else None
        if files == self._files and visible == {name: item.version for name, item in versions.items()}:
            self._acknowledgements.composed(self.generation, sessions=sessions, leases=leases)
            return
        manifest = self._manifest_of(versions)
        before = self._directory.replaced()
        # First the leases count as in use, then readers can see them: otherwise one could be revoked in between.
        self._acknowledgements.fetched(manifest.generation, sessions=sessions, leases=leases)
        self._publishing = True
        try:
            # In a thread: with require_tmpfs = false an fsync may take seconds.
            await asyncio.to_thread(self._directory.publish, manifest, files)
        except PublishError:
            self._acknowledgements.withdrawn(manifest.generation)
            raise
        finally:
            self._publishing = False
        self.manifest, self._files = manifest, files
        self.counters["publications"] += 1
        self._trail.record("secrets.publish", generation=manifest.generation)
        self._acknowledgements.published(manifest.generation)
        # Last: readers have the generation already, and must not wait for a volume that cannot be listed.
        due = self._clock.boot() + self._grace_s
        self._grace |= {name: due for name in self._directory.replaced() if name not in before}

    def sweep(self) -> None:
        """Remove generations whose grace has ended, and the oldest if there are too many."""
        if self._publishing:
            return  # the one being written would look like one that was replaced
        now = self._clock.boot()
        try:
            replaced = self._directory.replaced()
        except PublishError:
            return  # the next sweep may list them
        names = [name for name in replaced if self._grace.get(name, now) > now]
        kept = frozenset(names[:KEPT])
        self._directory.sweep(kept)
        self._grace = {name: due for name, due in self._grace.items() if name in kept}

    def _manifest_of(self, versions: SecretVersions) -> Manifest:
        entries = {
            name: ManifestEntry(
                source=self._sources[name],
                version=item.version,
                expires_at=_zulu(item.expires_at, "seconds") if item.expires_at else None,
                files=tuple(item.files),
            )
            for name, item in versions.items()
        }
        now = _zulu(self._clock.wall(), "milliseconds")
        # Above every number on the volume, also of unreadable generations: a number never names two contents.
        return Manifest(generation=self._directory.highest() + 1, published_at=now, secrets=entries)


def _zulu(moment: datetime, precision: str) -> str:
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")
