"""The secrets agent: log in, read, publish, wait for proof, give back what was replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from sidecar.secrets.acknowledge import Proofs
from sidecar.secrets.audit import AuditEvent, AuditTrail, log_audit
from sidecar.secrets.clock import Clock, SystemClock, wait_until
from sidecar.secrets.lease.record import LeaseJournal
from sidecar.secrets.lease.revoke import Retirement
from sidecar.secrets.lease.schedule import Failures
from sidecar.secrets.lease.secret import Keeper
from sidecar.secrets.publish import secret_version as of
from sidecar.secrets.publish.files import PublishError, check_memory_backed
from sidecar.secrets.publish.generation import Publication
from sidecar.secrets.publish.secret_version import Material
from sidecar.secrets.settings import SecretsSettings
from sidecar.secrets.status import Mishap, SecretsStatus
from sidecar.secrets.token.token import Sessions
from sidecar.secrets.vault.client import Caller, VaultClient
from sidecar.secrets.vault.connection import Connection

SETTLE_S = 1.0
"""Seconds that a publication waits for other secrets that are being read, so that they make one set."""
END_S = 5.0
"""Seconds that the end may take to give leases back."""
TEND_S = 1.0


class SecretsAgent:
    """Keeps the shared directory full of secrets that work.

    `run` is its task; everything else is called on the same event loop. Old credentials never go before their
    successors are proved by use.
    """

    def __init__(
        self,
        settings: SecretsSettings,
        *,
        on_audit: Callable[[AuditEvent], None] = log_audit,
        caller: Caller | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._trail = AuditTrail(self._clock, on_audit)
        self._client = None if caller else _client(settings)
        self._journal = LeaseJournal(settings.lease_journal)
        self._proofs = Proofs(
            acknowledged_by=settings.acknowledged_by,
            timeout_s=settings.acknowledge_timeout_s,
            clock=self._clock,
            trail=self._trail,
        )
        self._sessions = Sessions(
            caller or self._client,  # type: ignore[arg-type] # one of them is there
            settings,
            self._journal,
            self._clock,
            self._trail,
        )
        self._publication = Publication(settings, self._proofs, self._clock, self._trail)
        self._retirement = Retirement(self._sessions, self._journal, self._proofs, self._clock, self._trail)
        self._changed, self._news = asyncio.Event(), asyncio.Event()
        self._mishap: Mishap | None = None
        self._keepers = {item.name: self._keeper(item.name) for item in settings.secrets}
        self._sessions.on_change = self._token_changed
        self._proofs.on_news = self._news.set

    def _keeper(self, name: str) -> Keeper:
        secret = next(item for item in self._settings.secrets if item.name == name)
        keeper = Keeper(
            secret,
            self._settings,
            sessions=self._sessions,
            journal=self._journal,
            clock=self._clock,
            trail=self._trail,
        )
        keeper.on_change, keeper.on_superseded = self._changed.set, self._supersede
        return keeper

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`, whatever Vault or the volume do.

        At the end leases are given back only if every reader has said goodbye; otherwise a successor does it.
        """
        try:
            if self._keepers:
                await self._until(stop)
                await self._end()
            else:
                await stop.wait()
        finally:
            if self._client:
                self._client.close()

    async def _until(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            work = group.create_task(self._work())
            await stop.wait()
            work.cancel()

    async def _work(self) -> None:
        await self._open()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sessions.run())
            group.create_task(self._publish_changes())
            group.create_task(self._tend())
            for keeper in self._keepers.values():
                group.create_task(keeper.run())

    async def _open(self) -> None:
        """Takes over what a predecessor left; a volume that cannot be used is tried again for ever."""
        failures = Failures()
        while True:
            try:
                self._take_over()
            except (PublishError, OSError) as error:
                self._failed("volume_unusable", error, failures)
                await wait_until(self._clock, asyncio.Event(), failures.retry_at())
            else:
                self._mishap = None
                return

    def _take_over(self) -> None:
        if complaint := self._journal.open():
            self._trail.record("secrets.journal", outcome="unreadable", reason=complaint)
        if self._settings.require_tmpfs:
            check_memory_backed(self._settings.lease_journal)
        holdings = self._journal.holdings
        ancestors = frozenset(item.number for item in holdings.sessions)
        self._publication.open(
            ancestors=ancestors, held=frozenset(item.lease_id for item in holdings.leases if item.lease_id)
        )
        self._retirement.inherit(self._settings.acknowledge_timeout_s)
        for name, keeper in self._keepers.items():
            files = frozenset(file.name for file in keeper.secret.files)
            leased = keeper.secret.source == "leased"
            keeper.material = self._publication.carried(name, files, sessions=ancestors if leased else frozenset())

    async def _publish_changes(self) -> None:
        failures = Failures()
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._settle()
            while not await self._publish(failures):
                await wait_until(self._clock, asyncio.Event(), failures.retry_at())

    async def _settle(self) -> None:
        """Lets reads that are under way join the set."""
        end = self._clock.boot() + SETTLE_S
        while any(item.busy for item in self._keepers.values()) and (left := end - self._clock.boot()) > 0:
            await self._clock.wait(self._changed, left)
            self._changed.clear()
            await asyncio.sleep(0)

    async def _publish(self, failures: Failures) -> bool:
        """Publishes what there is, if it is whole; says whether that is done with."""
        materials = self._materials()
        whole = len(materials) == len(self._keepers) and all(item.tried for item in self._keepers.values())
        if not whole:
            return True
        try:
            await self._publication.publish(materials)
        except PublishError as error:
            self._failed("publication_failed", error, failures)
            return False
        self._mishap = None
        failures.forget()
        return True

    async def _tend(self) -> None:
        """Once a second, and when there is news: time-outs, old sets, old leases, old tokens."""
        while True:
            await self._clock.wait(self._news, TEND_S)
            self._news.clear()
            self._proofs.time_out()
            self._publication.sweep()
            await self._retirement.tend(of.sessions(self._materials()))

    async def _end(self) -> None:
        if not self._proofs.abandoned:
            self._trail.record("secrets.end", outcome="kept", readers=self._proofs.readers)
            return
        try:
            async with asyncio.timeout(END_S):
                await self._retirement.give_back()
        except TimeoutError:
            self._trail.record("secrets.end", outcome="timed_out")
        else:
            self._trail.record("secrets.end")

    def connected(self, producer_id: str) -> None:
        """A producer is there and may read secrets: its earlier goodbye no longer counts."""
        self._proofs.connected(producer_id)

    def applied(self, producer_id: str, generation: int) -> None:
        """A producer has proved a generation by using it."""
        self._proofs.applied(producer_id, generation)

    def rejected(self, producer_id: str, generation: int, secret: str, reason: str, message: str) -> None:
        """A producer could not use a generation; what it replaced lives on."""
        self._proofs.rejected(producer_id, generation, secret, reason, message)

    def goodbye(self, producer_id: str) -> None:
        """A producer has ended in order: it uses no secret any more."""
        self._proofs.goodbye(producer_id)

    async def rotate(self, name: str | None) -> None:
        """Has a secret read again now, or all of them.

        Raises:
            KeyError: there is no secret of that name.
        """
        for keeper in list(self._keepers.values()) if name is None else [self._keepers[name]]:
            self._trail.record("secrets.rotate", secret=keeper.secret.name)
            keeper.force("requested")

    def status(self) -> SecretsStatus:
        """Everything that is known, without a secret."""
        manifest, holdings = self._publication.manifest, self._journal.holdings
        return SecretsStatus(
            generation_published=self._publication.generation,
            generation_acknowledged=self._proofs.acknowledged,
            published_at=datetime.fromisoformat(manifest.published_at) if manifest else None,
            stage=self._proofs.stage(self._publication.generation),
            token=self._sessions.status(),
            secrets=tuple(keeper.status() for keeper in self._keepers.values()),
            rejection=self._proofs.rejection,
            mishap=self._mishap,
            sessions=len(holdings.sessions),
            leases=sum(1 for item in holdings.leases if item.lease_id),
            awaiting_retirement=len(self._retirement),
            requests=dict(self._sessions.requests),
            counters=dict(self._publication.counters + self._proofs.counters + self._retirement.counters),
        )

    def _materials(self) -> dict[str, Material]:
        return {name: keeper.material for name, keeper in self._keepers.items() if keeper.material}

    def _supersede(self, name: str, old: Material) -> None:
        self._retirement.supersede(name, old)
        self._news.set()

    def _token_changed(self) -> None:
        for keeper in self._keepers.values():
            keeper.wake()
        self._news.set()

    def _failed(self, name: str, error: Exception, failures: Failures) -> None:
        self._mishap = Mishap(name=name, message=str(error), time=self._clock.wall())
        self._trail.record("secrets.publish", outcome=name, reason=str(error))
        failures.note(self._clock.boot(), self._clock.chance())


def _client(settings: SecretsSettings) -> VaultClient:
    connection = Connection(
        address=settings.address,
        ca_cert=settings.ca_cert,
        namespace=settings.namespace,
        connect_timeout_s=settings.connect_timeout_s,
        request_timeout_s=settings.request_timeout_s,
    )
    return VaultClient(connection, workers=min(16, len(settings.secrets) + 2))
