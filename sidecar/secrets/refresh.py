"""Secret refresher: reads, polls, renews and replaces one secret, whatever happens to the others.

Each secret has a task of its own, so that a path which is denied or an engine which hangs delays no other secret.
The task asks the schedule for its next step (`lease/schedule.py`), takes it when it is due and the failures allow it,
and posts `SecretVersionChanged` if the secret's files are others than before.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from sidecar.secrets.audit import hashed
from sidecar.secrets.clock import wait_until
from sidecar.secrets.errors import Proof, RenderError, SecretsError, StaleError, VaultError
from sidecar.secrets.lease.schedule import LEASE_LOST, NEVER, Act, Failures, HeldVersion, Life, Step, next_step
from sidecar.secrets.lease.session import VaultSession
from sidecar.secrets.messages import AgentContext, Change, SupersededLease
from sidecar.secrets.publish.directory_swap import FileContent
from sidecar.secrets.publish.generation import SecretVersion
from sidecar.secrets.publish.render import render
from sidecar.secrets.settings import FileSettings, SecretSettings
from sidecar.secrets.status import LastError, SecretStatus
from sidecar.secrets.vault.answers import Asked, Deed, deed_of
from sidecar.secrets.vault.engines import (
    SecretReading,
    certificate_path,
    read_request,
    read_secret,
    read_version,
    version_path,
)
from sidecar.secrets.vault.version import LAG_S, Order, VersionMark

# Request that notices a change, by source. kv has versions, a lease can be looked up; the others must be read whole.
# Their times alone do not do: an operator may rotate a static role or revoke a lease at any moment.
POLLS = {"kv": Act.POLL, "pki": Act.POLL, "kv1": Act.READ, "transit": Act.READ, "static_role": Act.READ}
# Sources whose reads may leave a lease behind.
LEASING = frozenset({"leased", "pki"})
# Before a lease is looked up again after the policy forbade it: only an operator can change that.
FORBIDDEN_PAUSE_S = 300.0
# After a producer's rejection a secret is read anew at once; if it rejects that too, after these pauses. Each read of
# a lease is one more login to the database, which lives until a producer proves a successor.
REJECTED_PAUSES_S = (60.0, 300.0, 900.0)
# Reasons to take a version whatever the server showed before: there is none yet, or a person asks for it.
ACCEPT_ANY = frozenset({"first", "requested"})


class SecretRefresher:
    """Keeps `version` of one secret fresh; `run` is its task.

    `tried` turns True with the first attempt, `busy` is True while a version is being read.
    """

    def __init__(self, secret: SecretSettings, context: AgentContext) -> None:
        self.secret, self._settings, self._clock = secret, context.settings, context.clock
        self._sessions, self._journal, self._messages = context.sessions, context.journal, context.messages
        self._record = partial(context.trail.record, secret=secret.name)
        self._wake = asyncio.Event()
        self._failures = Failures()
        self._forced = ""
        self._newest: VersionMark | None = None
        self._older_since = NEVER
        self._look_from = -NEVER
        self._rejected_at, self._reread_from, self._rereads = NEVER, -NEVER, 0
        self._ended_at = NEVER
        """Since the server called what is published ended or revoked."""
        self._doubted = 0  # session under which a lease of this secret may exist whose id was lost
        self._failed_act: Act | None = None
        self._dead_token = False
        self._polled = -NEVER
        self._last_error: LastError | None = None
        self._failing_since: datetime | None = None
        self._last_success: datetime | None = None
        self._reads: Counter[str] = Counter()
        self.version: SecretVersion | None = None
        self.tried = self.busy = False

    async def run(self) -> None:
        """Keep the secret fresh until cancelled."""
        while True:
            step = self._next()
            if step is not None and step.at <= self._clock.boot():
                await self._take(step)
                continue
            await wait_until(self._clock, self._wake, NEVER if step is None else step.at)
            self._wake.clear()

    def wake(self) -> None:
        """Look at the schedule again at once: the token changed."""
        if self._dead_token:
            self._dead_token = False
            self._failures.succeeded()  # the pause was for the old token
        self._wake.set()

    def force(self, reason: str) -> None:
        """Read the secret again now, as far as its failures allow."""
        self._forced = reason
        self._wake.set()

    def rejected(self) -> None:
        """Read the secret anew: a producer could not use it. At once for the first time, then after growing pauses."""
        self._rejected_at = max(self._clock.boot(), self._reread_from)
        self._wake.set()

    def accepted(self) -> None:
        """End the pauses after rejections: a producer has proved what is published."""
        self._rejected_at, self._reread_from, self._rereads = NEVER, -NEVER, 0

    def _next(self) -> Step | None:
        """Return the next step, held back by failures; None without a token."""
        session, version = self._sessions.usable, self.version
        if session is None:
            return None
        held = None
        if version is not None and not version.carried:
            held = HeldVersion(
                life=version.life,
                leased=bool(version.lease_id),
                same_session=session.number in version.sessions,
                newer=self._newest is not None,
                polled=self._polled,
                refresh_at=version.refresh_at,
                rejected_at=self._rejected_at,
                unread=self._failed_act is Act.READ,
            )
        step = next_step(
            held,
            forced=self._forced,
            poll=self._poll_of(version),
            interval_s=self._settings.poll_interval_s,
            # Two time-outs: a missing acknowledgement is reported while half of the overlap is still left to act.
            overlap_s=2 * self._settings.acknowledge_timeout_s,
            now=self._clock.boot(),
        )
        return replace(step, at=max(step.at, self._failures.retry_at()))

    def _poll_of(self, version: SecretVersion | None) -> Act | None:
        if version is not None and (version.lease_id or self.secret.source == "pki"):
            return Act.POLL if self._clock.boot() >= self._look_from else None
        return POLLS.get(self.secret.source)

    async def _take(self, step: Step) -> None:
        session = self._sessions.usable
        if session is None:
            return
        # A publication waits for busy secrets. Polls rarely bring a change, so it does not wait for them.
        self.busy = step.act is Act.READ and step.reason != "poll"
        try:
            if step.act is Act.POLL and self.version and self.version.lease_id:
                await self._look(session, self.version)
            elif step.act is Act.POLL and self.secret.source == "pki":
                await self._look_at_certificate(session)
            elif step.act is Act.POLL:
                await self._poll(session)
            elif step.act is Act.RENEW:
                await self._renew(session)
            else:
                await self._read(step.reason, session)
        except SecretsError as error:
            self._failed(step, error)
        else:
            self._failures.succeeded()
            self._failed_act = None
            self._last_error = self._failing_since = None
            self._last_success = self._clock.wall()
        finally:
            self.busy = False
            first, self.tried = not self.tried, True
            if first:
                self._messages.put_nowait(Change.VERSION)

    def _failed(self, step: Step, error: SecretsError) -> None:
        now = self._clock.wall()
        self._failures.failed(self._clock.boot(), self._clock.chance(), error.retry_after_s)
        self._failed_act = step.act
        self._failing_since = self._failing_since or now
        self._last_error = LastError.of(error, now)
        self._record(f"secrets.{step.act.value}", outcome=error.name, reason=step.reason, status=error.status)
        self._dead_token = deed_of(error, Asked.READ) is Deed.CHECK_TOKEN
        version = self.version
        if step.act is not Act.RENEW or version is None:
            return
        match deed_of(error, Asked.RENEW_LEASE):
            case Deed.ENDED:
                self._ended(LEASE_LOST)
            case Deed.STOP_RENEWING:
                self.version = replace(version, life=replace(version.life, renewable=False))

    def _ended(self, reason: str) -> None:
        """Read a successor of what the server calls ended; until it is there, nothing fresh is published."""
        self._ended_at = min(self._ended_at, self._clock.boot())
        self.force(reason)

    async def _look(self, session: VaultSession, version: SecretVersion) -> None:
        """Look a lease up: an operator may have revoked it, or its engine may have been taken away."""
        body, lease = {"lease_id": version.lease_id}, hashed(version.lease_id)
        try:
            answer = await self._sessions.call_as(session, "poll", "POST", "sys/leases/lookup", body)
        except VaultError as error:
            match deed_of(error, Asked.LOOK):
                case Deed.ENDED:
                    self._record("secrets.lease", outcome="revoked", lease=lease)
                    self._ended(LEASE_LOST)
                case Deed.TOKEN_LIVES:
                    self._look_from = self._clock.boot() + FORBIDDEN_PAUSE_S
                    self._record("secrets.lease", outcome=error.name, reason="the policy forbids sys/leases/lookup")
                case _:
                    raise
            return
        now, left = self._clock.boot(), float(answer.data.get("ttl") or 0)
        self._polled = now
        # The server's word counts if it is shorter than ours, by more than rounding and the request's time.
        if self.version is version and 0 < left < version.life.end - now - 2:
            self.version = replace(version, life=replace(version.life, ttl_s=now + left - version.life.start))

    async def _look_at_certificate(self, session: VaultSession) -> None:
        """Look whether a certificate without a lease was revoked."""
        serial = self.version.version if self.version else ""
        try:
            answer = await self._sessions.call_as(session, "poll", "GET", certificate_path(self.secret, serial))
        except VaultError as error:
            # A role with no_store keeps no certificate, and none of its certificates can be revoked by serial.
            if error.proof not in {Proof.REFUSED, Proof.RIGHT_MISSING}:
                raise
            self._look_from = self._clock.boot() + FORBIDDEN_PAUSE_S
            return
        self._polled = self._clock.boot()
        if float(answer.data.get("revocation_time") or 0) > 0:
            self._record("secrets.certificate", outcome="revoked", version=serial)
            self._ended("revoked")

    async def _poll(self, session: VaultSession) -> None:
        answer = await self._sessions.call_as(session, "poll", "GET", version_path(self.secret))
        self._polled = self._clock.boot()
        seen, version = read_version(self.secret, answer, self._clock.wall()), self.version
        if version is None or version.carried:
            return
        order = seen.order(version.mark)
        if order is not Order.OLDER:
            self._older_since = NEVER
        elif self._older_since == NEVER:
            self._older_since = self._polled
        if order is Order.NEWER or self._polled - self._older_since >= LAG_S:
            self._newest = seen

    async def _renew(self, session: VaultSession) -> None:
        version = self.version
        if version is None:
            return
        asked_s = self.secret.renew_increment_s or int(version.first_ttl_s)
        renewal = await self._sessions.renew_lease(session, version.lease_id, version.life, asked_s)
        expires_at = self._clock.wall() + timedelta(seconds=renewal.given_s)
        self.version = replace(version, life=renewal.life, expires_at=expires_at)
        lease = hashed(version.lease_id)
        self._record("secrets.renew", request_id=renewal.request_id, lease=lease, ttl_s=renewal.given_s)

    async def _read(self, reason: str, session: VaultSession) -> None:
        request = read_request(self.secret)
        leased = self.secret.source in LEASING
        if leased:
            self._journal.begin_lease(self.secret.name, session.number, self._clock.wall())
        try:
            answer = await self._sessions.call_as(session, "read", request.method, request.path, request.body)
        except VaultError as error:
            if leased and deed_of(error, Asked.READ) is Deed.DOUBT:
                self._doubted = session.number
            elif leased:
                self._journal.name_lease(self.secret.name, session.number, "")
            raise
        if leased:
            self._journal.name_lease(self.secret.name, session.number, answer.lease_id)
        reading = read_secret(self.secret, answer, self._clock.wall())
        self._polled = self._clock.boot()
        if reading.made_at and reason not in ACCEPT_ANY:
            self._check_order(VersionMark(version=reading.version, made_at=reading.made_at))
        self._accept(reading, reason, session)
        if self._doubted == session.number and reading.lease_id:
            # A lost answer may have made a lease: a new token is taken, and the end of the old one takes the lease.
            # Not before this secret is well again: the others' leases are read anew with it.
            self._sessions.taint(session)
        self._doubted = 0

    def _check_order(self, read: VersionMark) -> None:
        """Raise StaleError for a version that is older than one that the server has shown."""
        version = self.version
        held = None if version is None or version.carried else version.mark
        newest = self._newest or held
        if newest and read.order(newest) is Order.OLDER:
            raise StaleError(
                f"secret {self.secret.name!r}: the server answers with version {read.version}, older than one that it "
                "has shown: a standby lags behind"
            )

    def _accept(self, reading: SecretReading, reason: str, session: VaultSession) -> None:
        version = self._version_of(reading, session)
        try:
            files = self._rendered(reading)
        except RenderError:
            # The lease exists although no file does: unless it is revoked, each retry leaves one behind.
            self._supersede(version)
            raise
        old, self.version = self.version, replace(version, files=files)
        self._forced, self._ended_at = "", NEVER
        self._newest, self._older_since = None, NEVER
        self._rejected_at = NEVER
        if reason == "rejected":
            self._reread_from = self._clock.boot() + REJECTED_PAUSES_S[min(self._rereads, len(REJECTED_PAUSES_S) - 1)]
            self._rereads += 1
        same = old is not None and (old.version, old.files) == (reading.version, files)
        if reason != "poll" or not same:
            self._reads[reason] += 1
            request_id, lease = reading.request_id, hashed(reading.lease_id)
            self._record("secrets.read", request_id=request_id, reason=reason, lease=lease, version=reading.version)
        if old is not None:
            self._supersede(old)
        if not same or (old is not None and old.carried):
            self._messages.put_nowait(Change.VERSION)

    def _rendered(self, reading: SecretReading) -> dict[str, FileContent]:
        files, room = {}, self._settings.max_secret_bytes
        for file in self.secret.files:
            data = render(file, reading.data, _template_of(file), limit=room)
            files[file.name] = FileContent(data=data, mode=file.permissions)
            room -= len(data)
        return files

    def _version_of(self, reading: SecretReading, session: VaultSession) -> SecretVersion:
        now, wall, chance = self._clock.boot(), self._clock.wall(), self._clock.chance()
        leased = bool(reading.lease_id)
        last = now + self.secret.max_ttl_s if self.secret.max_ttl_s and leased else NEVER
        return SecretVersion(
            version=reading.version,
            made_at=reading.made_at,
            files={},
            life=Life.issued(now, reading.ttl_s, renewable=reading.renewable, chance=chance, last=last),
            lease_id=reading.lease_id,
            sessions=frozenset({session.number}) if leased else frozenset(),
            expires_at=wall + timedelta(seconds=reading.ttl_s) if reading.ttl_s else None,
            read_at=wall,
            refresh_at=now + reading.refresh_s if reading.refresh_s else NEVER,
            first_ttl_s=reading.ttl_s,
        )

    def _supersede(self, version: SecretVersion) -> None:
        if version.lease_id:
            replaced = SupersededLease(
                secret=self.secret.name,
                lease_id=version.lease_id,
                session=next(iter(version.sessions)),
                life=version.life,
                asked_s=version.first_ttl_s,
            )
            self._messages.put_nowait(replaced)

    def _end_of(self, version: SecretVersion) -> tuple[float, bool]:
        """Return the end of a version, and True if it has ended with its token."""
        if self._ended_at < NEVER:
            return self._ended_at, True
        alive, lost = self._sessions.alive, self._sessions.lost
        if version.sessions and not version.carried and version.sessions <= lost.keys() - alive.keys():
            return max(lost[item] for item in version.sessions), True
        # A lease ends with its token at the latest.
        return min([version.life.end, *(alive[item].life.end for item in version.sessions if item in alive)]), False

    def _lasts_s(self, version: SecretVersion) -> float | None:
        """Return the whole life of a version, or of its token if that is shorter; None if it does not end."""
        alive = self._sessions.alive
        lives = [version.life.ttl_s, *(alive[item].life.ttl_s for item in version.sessions if item in alive)]
        return min((life for life in lives if life > 0), default=None)

    def status(self) -> SecretStatus:
        """Return the status, for people and metrics."""
        now, version, step = self._clock.boot(), self.version, self._next()
        status = SecretStatus(
            name=self.secret.name,
            source=self.secret.source,
            state="waiting",
            files=tuple(file.name for file in self.secret.files),
            last_success=self._last_success,
            next_step=step.act.value if step else "login",
            next_in_s=max(0.0, step.at - now) if step and step.at < NEVER else None,
            failing_since=self._failing_since,
            last_error=self._last_error,
            reads=dict(self._reads),
        )
        if version is None:
            return status
        end, ended = self._end_of(version)
        state = "ended" if ended else "failing" if self._failing_since else "fresh"
        return replace(
            status,
            state="carried" if version.carried else state,
            version=version.version,
            read_at=version.read_at,
            expires_in_s=None if end == NEVER else end - now,
            ends_in_s=None if version.life.last == NEVER else version.life.last - now,
            lasts_s=self._lasts_s(version),
        )


def _template_of(file: FileSettings) -> str:
    if file.template_file is None:
        return file.template
    try:
        return file.template_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = type(error).__name__
        raise RenderError(f"file {file.name!r}: {file.template_file} cannot be read ({reason})") from None
