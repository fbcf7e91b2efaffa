"""Secrets agent: logs in to Vault, reads secrets, publishes them as files, and revokes what they replaced.

The life of a secret, step by step
----------------------------------

1. *Log in.* `TokenRefresher` writes its intent to the lease journal, logs in and writes the accessor. It renews the
   token, checks every few seconds that it lives, and replaces it before its end.
2. *Read.* The `SecretRefresher` of each secret writes its intent, reads, and writes the lease id. Later it polls the
   version of a kv secret, renews a lease, or reads a successor, as `lease/schedule.py` decides.
3. *Render.* The same call makes the files' contents of the answer, in memory.
4. *Publish.* `_publish_changes` waits until every secret has been tried and has a version, then `GenerationPublisher`
   writes a directory and swaps one link. A generation has all secrets or is not made.
5. *Acknowledge.* Producers use the files and report success or failure; `Acknowledgements` keeps the stages.
6. *Revoke.* `LeaseRevoker` ends the leases and tokens that no generation since the acknowledged one needs.

An old credential is never revoked before a reader has proved its successor. The price is that two credentials are
alive meanwhile, and that a reader which never reports keeps both alive: the agent renews them and raises a condition.

Tasks and threads
-----------------

`run` is one task group on the sidecar's event loop:

- `TokenRefresher.run`: two tasks, one for the token and one that polls the credential files after a failed login;
- `SecretRefresher.run`: one task for each secret;
- `_loop`: takes messages (`messages.py`) and wakes the task that has to act; it awaits nothing but the queue;
- `_publish_changes`: publishes, and tries again while the volume refuses;
- `_tend`: each second, and at news: time-outs, old generations, old leases and tokens.

The last two are separate from `_loop` and from each other because each may wait for seconds, on the volume or on
Vault, while a new token or version must reach its task at once. Two kinds of thread serve them: the client's workers
make requests (requests and hvac block), and `asyncio.to_thread` writes a generation. All state belongs to the loop;
threads get values and return values.

What a kill at each step leaves, and what the next start does
-------------------------------------------------------------

- During a login: perhaps a token that nobody can name. It lives for its role's ttl; `auth.ttl_s` lets that be short.
- During a read: perhaps a lease without a known id. Its session is in the journal, and goes with all its leases.
- After a read, before publication: a lease that no reader has seen, by its id in the journal.
- During publication: half a directory, which `GenerationDirectory.open` removes, or a complete one.
- After publication: readers go on using the files. The new agent takes them over as version "carried", counts all
  that its predecessor held as in use and renews it, logs in, reads everything anew and publishes; once the readers
  have acknowledged that, it revokes the predecessor's sessions. So each restart costs one overlap and leaks nothing.
- If Vault is away then, the carried files stay published, and the agent tries again.

An orderly end (`_end`) revokes everything, but only if every reader has said goodbye. Otherwise it leaves all as a
kill would: a reader that outlives its sidecar must not lose its database in the middle of an order.

Bounds
------

Requests never repeat in a hot loop: each secret, each old lease and the token back off from 0.5 to 15 s, with at
most ten failures in any minute, and a server's Retry-After is honoured. Each request has a deadline
(`connect_timeout_s` + `request_timeout_s`). In quiet times each secret costs one poll each `poll_interval_s`, the
token one check each `token_check_interval_s` unless other requests prove it, and a lease one renewal at two thirds of
its life; all are spread by chance, so that a fleet restarted together does not call together. Threads: one for each
secret and two, at most 16. Disk: the current generation, and at most 16 replaced ones in their grace.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from pod_runtime.cancellation import PersistentTaskGroup
from pod_runtime.run import persist
from sidecar.secrets.acknowledge import Acknowledgements
from sidecar.secrets.audit import AuditSink, AuditTrail
from sidecar.secrets.clock import Clock, wait_until
from sidecar.secrets.errors import PublishError, VaultError
from sidecar.secrets.lease.record import LeaseJournal
from sidecar.secrets.lease.revoke import LeaseRevoker
from sidecar.secrets.lease.schedule import Failures
from sidecar.secrets.lease.session import VaultSessions
from sidecar.secrets.messages import AgentContext, Change, Messages, RejectedSecret, SupersededLease
from sidecar.secrets.publish.directory_swap import check_memory_backed
from sidecar.secrets.publish.generation import GenerationPublisher, SecretVersion, sessions_of
from sidecar.secrets.refresh import LEASING, SecretRefresher
from sidecar.secrets.settings import SecretsSettings
from sidecar.secrets.status import LastError, SecretsStatus
from sidecar.secrets.token.refresh import TokenRefresher
from sidecar.secrets.vault.client import VaultCaller, VaultClient

log = logging.getLogger(__name__)
# Longest wait of a publication for secrets that are being read. After a new token all leases are read anew: readers
# should get one generation, not one for each.
SETTLE_S = 1.0
# Longest time that the end spends on revoking: a small part of the 30 s after which Kubernetes kills.
END_S = 5.0
TEND_S = 1.0


class SecretsAgent:
    """Keeps the shared directory full of secrets that work. `run` is its task; call all else on its event loop."""

    def __init__(
        self,
        settings: SecretsSettings,
        *,
        audit: AuditSink | None = None,
        caller: VaultCaller | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or Clock()
        self._trail = AuditTrail(self._clock, audit)
        self._messages = Messages()
        self._client = VaultClient(settings)
        self._journal = LeaseJournal(settings.lease_journal)
        self._sessions = VaultSessions(caller or self._client, self._journal, self._clock)
        context = AgentContext(settings, self._clock, self._trail, self._messages, self._journal, self._sessions)
        self.acknowledgements = Acknowledgements(context)
        self._tokens = TokenRefresher(context)
        self._publisher = GenerationPublisher(context, self.acknowledgements)
        self._revoker = LeaseRevoker(context, self.acknowledgements)
        self._refreshers = {secret.name: SecretRefresher(secret, context) for secret in settings.secrets}
        self._publish_due, self._tend_due = asyncio.Event(), asyncio.Event()
        self._last_error: LastError | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, whatever Vault or the volume do."""
        try:
            if not self._refreshers:
                await stop.wait()
                return
            if self._settings.is_anyone_heard:
                log.warning("secrets.anyone_is_heard", extra={"remedy": "name the readers in secrets.acknowledged_by"})
            async with PersistentTaskGroup() as group:
                work = group.create_task(self._work())
                await stop.wait()
                # Requests on their way end in their threads; the journal has their intents.
                work.cancel()
            await self._end()
        finally:
            self._client.close()

    async def _work(self) -> None:
        await self._open()
        reading = [refresher.run for refresher in self._refreshers.values()]
        async with PersistentTaskGroup() as group:
            for work in (self._tokens.run, self._loop, self._publish_changes, self._tend, *reading):
                group.create_task(persist(work.__qualname__, work))

    async def _loop(self) -> None:
        while True:
            match await self._messages.get():
                case Change.VERSION:
                    self._publish_due.set()
                case SupersededLease() as lease:
                    self._revoker.supersede(lease)
                    self._tend_due.set()
                case Change.SESSION:
                    for refresher in self._refreshers.values():
                        refresher.wake()
                    self._tend_due.set()
                case RejectedSecret() as rejected:
                    if named := self._refreshers.get(rejected.secret):
                        named.rejected()
                case Change.LEASES_IN_USE:
                    self._note_use()

    def _note_use(self) -> None:
        self._tend_due.set()
        if self.acknowledgements.rejection is None:
            for refresher in self._refreshers.values():
                refresher.accepted()

    async def _open(self) -> None:
        """Take over what a predecessor left; while the volume cannot be used, try again."""
        failures = Failures()
        while True:
            try:
                self._take_over()
            except (PublishError, OSError) as error:
                self._failed("volume_unusable", error, failures)
                await wait_until(self._clock, asyncio.Event(), failures.retry_at())
            else:
                self._last_error = None
                return

    def _take_over(self) -> None:
        if fault := self._journal.open():
            self._trail.record("secrets.journal", outcome="unreadable", reason=fault)
        if self._settings.require_tmpfs:
            check_memory_backed(self._settings.lease_journal)
        holdings = self._journal.holdings
        inherited = frozenset(item.number for item in holdings.sessions)
        leases = frozenset(item.lease_id for item in holdings.leases if item.lease_id)
        self._publisher.open(sessions=inherited, leases=leases)
        self._revoker.inherit(self._settings.acknowledge_timeout_s)
        for name, refresher in self._refreshers.items():
            files = frozenset(file.name for file in refresher.secret.files)
            # Which of the sessions a carried lease belongs to is not recorded, so it holds them all.
            sessions = inherited if refresher.secret.source in LEASING else frozenset[int]()
            refresher.version = self._publisher.carried(name, files, sessions=sessions)

    async def _publish_changes(self) -> None:
        failures = Failures()
        while True:
            await self._publish_due.wait()
            self._publish_due.clear()
            await self._settle()
            while not await self._publish(failures):
                await wait_until(self._clock, asyncio.Event(), failures.retry_at())

    async def _settle(self) -> None:
        """Let reads that are under way join the generation."""
        end = self._clock.boot() + SETTLE_S
        while any(item.busy for item in self._refreshers.values()) and (left := end - self._clock.boot()) > 0:
            await self._clock.wait(self._publish_due, left)
            self._publish_due.clear()
            await asyncio.sleep(0)

    async def _publish(self, failures: Failures) -> bool:
        """Publish if every secret has a version and was tried; False if the volume refused."""
        versions = self._versions()
        # After a restart each secret has its carried version at once. Without the wait for first attempts the readers
        # would get a generation for each secret.
        if len(versions) < len(self._refreshers) or not all(item.tried for item in self._refreshers.values()):
            return True
        try:
            await self._publisher.publish(versions)
        except PublishError as error:
            self._failed("publication_failed", error, failures)
            return False
        self._last_error = None
        failures.succeeded()
        return True

    async def _tend(self) -> None:
        while True:
            await self._clock.wait(self._tend_due, TEND_S)
            self._tend_due.clear()
            self.acknowledgements.time_out()
            self._publisher.sweep()
            await self._revoker.tend(sessions_of(self._versions()))

    async def _end(self) -> None:
        if not self.acknowledgements.abandoned:
            self._trail.record("secrets.end", outcome="kept", readers=len(self.acknowledgements.readers))
            return
        try:
            async with asyncio.timeout(END_S):
                await self._revoker.revoke_all()
        except TimeoutError:
            self._trail.record("secrets.end", outcome="timed_out")
        except VaultError as error:
            self._trail.record("secrets.end", outcome=error.name)
        else:
            self._trail.record("secrets.end")

    async def rotate(self, name: str | None) -> None:
        """Read a secret again now, or all of them for None; raises KeyError if there is none of that name.

        A login that waits for another credential is tried once more.
        """
        for refresher in list(self._refreshers.values()) if name is None else [self._refreshers[name]]:
            self._trail.record("secrets.rotate", secret=refresher.secret.name)
            refresher.force("requested")
        self._tokens.retry()

    def status(self) -> SecretsStatus:
        """Return the status of all parts, without a secret."""
        manifest, holdings, acknowledgements = self._publisher.manifest, self._journal.holdings, self.acknowledgements
        return SecretsStatus(
            generation_published=self._publisher.generation,
            generation_acknowledged=acknowledgements.acknowledged,
            published_at=datetime.fromisoformat(manifest.published_at) if manifest else None,
            stage=acknowledgements.stage(self._publisher.generation),
            token=self._tokens.status(),
            secrets=tuple(refresher.status() for refresher in self._refreshers.values()),
            rejection=acknowledgements.rejection,
            last_error=self._last_error,
            sessions=len(holdings.sessions),
            leases=sum(1 for item in holdings.leases if item.lease_id),
            awaiting_retirement=len(self._revoker),
            requests=dict(self._sessions.requests),
            ignored=dict(acknowledgements.ignored),
            is_anyone_heard=self._settings.is_anyone_heard,
            counters=dict(self._publisher.counters + acknowledgements.counters + self._revoker.counters),
        )

    def _versions(self) -> dict[str, SecretVersion]:
        return {name: item.version for name, item in self._refreshers.items() if item.version}

    def _failed(self, name: str, error: Exception, failures: Failures) -> None:
        self._last_error = LastError(name=name, message=str(error), time=self._clock.wall())
        self._trail.record("secrets.publish", outcome=name, reason=str(error))
        failures.failed(self._clock.boot(), self._clock.chance())
