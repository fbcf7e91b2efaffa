"""Making sets of what was read, and knowing which one is visible."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from sidecar.secrets.acknowledge import Proofs
from sidecar.secrets.audit import AuditTrail
from sidecar.secrets.clock import Clock
from sidecar.secrets.lease.schedule import Life
from sidecar.secrets.publish.files import KEPT, Content, Publisher, PublishError
from sidecar.secrets.publish.manifest import Entry, Manifest
from sidecar.secrets.publish.secret_version import Material, Materials, leases, sessions, versions
from sidecar.secrets.settings import SecretsSettings


class Publication:
    """The visible set. A set is whole or it is not made: every secret is in it."""

    def __init__(self, settings: SecretsSettings, proofs: Proofs, clock: Clock, trail: AuditTrail) -> None:
        self._publisher = Publisher(
            settings.directory,
            owner=(settings.owner_uid, settings.owner_gid),
            require_tmpfs=settings.require_tmpfs,
        )
        self._sources = {item.name: item.source for item in settings.secrets}
        self._grace_s = settings.grace_s
        self._proofs, self._clock, self._trail = proofs, clock, trail
        self._files: Mapping[str, Content] = {}
        self._grace: dict[str, float] = {}
        self._publishing = False
        self.manifest: Manifest | None = None
        self.counters: Counter[str] = Counter()

    @property
    def generation(self) -> int:
        """Number of the visible set; 0 before the first."""
        return self.manifest.generation if self.manifest else 0

    def open(self, *, ancestors: frozenset[int], held: frozenset[str]) -> None:
        """Takes over a predecessor's set, which may be made of all that it held.

        Raises:
            PublishError: the directory cannot be used.
        """
        self.manifest = self._publisher.open()
        due = self._clock.boot() + self._grace_s
        self._grace = dict.fromkeys(self._publisher.replaced(), due)
        if self.manifest:
            self._files = self._publisher.contents()
            self._proofs.fetched(self.generation, sessions=ancestors, leases=held)
            self._proofs.published(self.generation)

    def carried(self, name: str, files: frozenset[str], *, sessions: frozenset[int]) -> Material | None:
        """A predecessor's files of a secret, if they are the ones that it becomes now."""
        entry = self.manifest.secrets.get(name) if self.manifest else None
        if entry is None or files != frozenset(entry.files) or not files <= self._files.keys():
            return None
        return Material(
            version=entry.version,
            files={file: self._files[file] for file in entry.files},
            life=Life(start=0.0, born=0.0, ttl_s=0.0, renewable=False, chance=0.0),
            sessions=sessions,
            expires_at=datetime.fromisoformat(entry.expires_at) if entry.expires_at else None,
            carried=True,
        )

    async def publish(self, materials: Materials) -> None:
        """Makes a set visible, unless it is the one that is.

        Raises:
            PublishError: the volume is full or not writable.
        """
        files = {name: content for item in materials.values() for name, content in item.files.items()}
        if self.manifest and files == self._files and versions(materials) == _versions(self.manifest):
            self._proofs.composed(self.generation, sessions=sessions(materials), leases=leases(materials))
            return
        manifest = self._manifest_of(materials)
        before = self._publisher.replaced()
        self._proofs.fetched(manifest.generation, sessions=sessions(materials), leases=leases(materials))
        self._publishing = True
        try:
            await asyncio.to_thread(self._publisher.publish, manifest, files)
        except PublishError:
            self._proofs.withdrawn(manifest.generation)
            raise
        finally:
            self._publishing = False
        due = self._clock.boot() + self._grace_s
        self._grace |= {name: due for name in self._publisher.replaced() if name not in before}
        self.manifest, self._files = manifest, files
        self.counters["publications"] += 1
        self._trail.record("secrets.publish", generation=manifest.generation)
        self._proofs.published(manifest.generation)

    def sweep(self) -> None:
        """Removes sets whose grace has ended, and the oldest where there are too many.

        Not while one is being made: it would look like one that was replaced.
        """
        if self._publishing:
            return
        now = self._clock.boot()
        names = [name for name in self._publisher.replaced() if self._grace.get(name, now) > now]
        kept = frozenset(names[:KEPT])
        self._publisher.sweep(kept)
        self._grace = {name: due for name, due in self._grace.items() if name in kept}

    def _manifest_of(self, materials: Materials) -> Manifest:
        entries = {
            name: Entry(
                source=self._sources[name],
                version=item.version,
                expires_at=_zulu(item.expires_at, "seconds") if item.expires_at else None,
                files=tuple(item.files),
            )
            for name, item in materials.items()
        }
        now = _zulu(self._clock.wall(), "milliseconds")
        return Manifest(generation=self._publisher.highest() + 1, published_at=now, secrets=entries)


def _versions(manifest: Manifest) -> dict[str, str]:
    return {name: entry.version for name, entry in manifest.secrets.items()}


def _zulu(moment: datetime, precision: str) -> str:
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")
