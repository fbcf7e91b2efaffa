"""One secret: read, watched, renewed and replaced, whatever happens to the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sidecar.secrets.audit import AuditTrail, hashed
from sidecar.secrets.clock import Clock, wait_until
from sidecar.secrets.lease.record import JournalError, LeaseJournal
from sidecar.secrets.lease.schedule import LEASE_LOST, NEVER, Act, Failures, Held, Step, next_step
from sidecar.secrets.publish.files import Content
from sidecar.secrets.publish.render import RenderError, render
from sidecar.secrets.publish.secret_version import Material, made_of
from sidecar.secrets.settings import FileSettings, SecretSettings, SecretsSettings
from sidecar.secrets.status import Mishap, SecretStatus
from sidecar.secrets.token.credential import LoginError
from sidecar.secrets.token.session import Session
from sidecar.secrets.token.token import Sessions
from sidecar.secrets.vault.engines import (
    Reading,
    SourceError,
    read_request,
    read_secret,
    read_version,
    version_request,
)
from sidecar.secrets.vault.fault import Fault, VaultError

Mishaps = (VaultError, LoginError, JournalError, SourceError, RenderError)


class Keeper:
    """Keeps `material` of one secret fresh; `run` is its task.

    `on_change` is called when the material changed, `on_superseded` with the one that it replaced.
    """

    def __init__(
        self,
        secret: SecretSettings,
        settings: SecretsSettings,
        *,
        sessions: Sessions,
        journal: LeaseJournal,
        clock: Clock,
        trail: AuditTrail,
    ) -> None:
        self.secret, self._settings = secret, settings
        self._sessions, self._journal = sessions, journal
        self._clock, self._trail = clock, trail
        self._wake = asyncio.Event()
        self._failures = Failures()
        self._forced = ""
        self._wanted = ""
        self._failed_act: Act | None = None
        self._looked = -NEVER
        self._mishap: Mishap | None = None
        self._failing_since: datetime | None = None
        self._last_success: datetime | None = None
        self._reads: Counter[str] = Counter()
        self.material: Material | None = None
        self.tried = False
        self.busy = False
        self.on_change: Callable[[], None] = lambda: None
        self.on_superseded: Callable[[str, Material], None] = _ignore

    async def run(self) -> None:
        """Keeps the secret for ever."""
        while True:
            step = self._next()
            if step is not None and step.at <= self._clock.boot():
                await self._take(step)
                continue
            await wait_until(self._clock, self._wake, NEVER if step is None else step.at)
            self._wake.clear()

    def wake(self) -> None:
        """Looks again at once: the token changed."""
        self._wake.set()

    def force(self, reason: str) -> None:
        """Reads the secret again now, as far as its failures allow."""
        self._forced = reason
        self._wake.set()

    def _next(self) -> Step | None:
        """The next step, held back by failures; none while there is no token."""
        session, material = self._sessions.usable, self.material
        if session is None:
            return None
        step = next_step(
            None if material is None or material.carried else self._held(material, session),
            forced=self._forced,
            poll={"kv": Act.POLL, "kv1": Act.READ, "transit": Act.READ}.get(self.secret.source),
            interval_s=self._settings.poll_interval_s,
            overlap_s=2 * self._settings.acknowledge_timeout_s,
            now=self._clock.boot(),
        )
        return replace(step, at=max(step.at, self._failures.retry_at()))

    def _held(self, material: Material, session: Session) -> Held:
        return Held(
            life=material.life,
            leased=bool(material.lease_id),
            same_session=session.number in material.sessions,
            newer=bool(self._wanted) and self._wanted != material.version,
            looked=self._looked,
            refresh_at=material.refresh_at,
            unread=self._failed_act is Act.READ,
        )

    async def _take(self, step: Step) -> None:
        session = self._sessions.usable
        if session is None:
            return
        self.busy = step.act is Act.READ and step.reason != "poll"
        try:
            await self._act(step, session)
        except Mishaps as error:
            self._failed(step, error)
        else:
            self._failures.forget()
            self._failed_act = None
            self._mishap = self._failing_since = None
            self._last_success = self._clock.wall()
        finally:
            self.busy = False
            first, self.tried = not self.tried, True
            if first:
                self.on_change()

    async def _act(self, step: Step, session: Session) -> None:
        if step.act is Act.POLL:
            await self._poll(session)
        elif step.act is Act.RENEW:
            await self._renew(session)
        else:
            await self._read(step.reason, session)

    def _failed(self, step: Step, error: Exception) -> None:
        retry_after = error.retry_after_s if isinstance(error, VaultError) else 0.0
        self._failures.note(self._clock.boot(), self._clock.chance(), retry_after)
        self._failed_act = step.act
        now = self._clock.wall()
        name = error.fault.value if isinstance(error, VaultError) else _NAMES[type(error)]
        status = error.status if isinstance(error, VaultError) else 0
        self._failing_since = self._failing_since or now
        self._mishap = Mishap(name=name, message=str(error), time=now, status=status)
        self._trail.record(
            f"secrets.{step.act.value}", secret=self.secret.name, outcome=name, reason=step.reason, status=status
        )
        lost = isinstance(error, VaultError) and error.fault in {Fault.INVALID, Fault.NOT_FOUND}
        if step.act is Act.RENEW and lost:
            self.force(LEASE_LOST)  # OpenBao answers 400 for a lease that is gone, Vault 404

    async def _poll(self, session: Session) -> None:
        request = version_request(self.secret)
        if request is None:
            return
        answer = await self._sessions.call("poll", session, request.method, request.path)
        self._looked = self._clock.boot()
        self._wanted = read_version(self.secret, answer, self._clock.wall())

    async def _renew(self, session: Session) -> None:
        material = self.material
        if material is None:
            return
        asked = self.secret.renew_increment_s or int(material.first_ttl_s)
        body = {"lease_id": material.lease_id, "increment": asked}
        answer = await self._sessions.call("renew", session, "POST", "sys/leases/renew", body)
        now, given = self._clock.boot(), float(answer.lease_duration)
        self.material = replace(
            material,
            life=replace(material.life.renewed(now, given, asked, self._clock.chance()), renewable=answer.renewable),
            expires_at=self._clock.wall() + timedelta(seconds=given),
        )
        self._trail.record(
            "secrets.renew",
            secret=self.secret.name,
            request_id=answer.request_id,
            lease=hashed(material.lease_id),
            ttl_s=given,
        )

    async def _read(self, reason: str, session: Session) -> None:
        request = read_request(self.secret)
        leased = self.secret.source == "leased"
        if leased:
            self._journal.begin_lease(self.secret.name, session.number, self._clock.wall())
        try:
            answer = await self._sessions.call("read", session, request.method, request.path, request.body)
        except BaseException as error:
            if leased:
                self._unread(session, error)
            raise
        if leased:
            self._journal.name_lease(self.secret.name, session.number, answer.lease_id)
        reading = read_secret(self.secret, answer, self._clock.wall())
        self._looked = self._clock.boot()
        self._accept(reading, reason, session)

    def _unread(self, session: Session, error: BaseException) -> None:
        """A read whose answer is lost may have made a lease: its token is replaced, and takes the lease with it."""
        if isinstance(error, VaultError) and not error.ambiguous:
            self._journal.name_lease(self.secret.name, session.number, "")
        elif isinstance(error, VaultError):
            self._sessions.taint(session)

    def _accept(self, reading: Reading, reason: str, session: Session) -> None:
        material = made_of(
            reading,
            session=session.number,
            max_ttl_s=self.secret.max_ttl_s,
            now=self._clock.boot(),
            wall=self._clock.wall(),
            chance=self._clock.chance(),
        )
        try:
            files = {
                file.name: Content(data=render(file, reading.data, _template_of(file)), mode=file.permissions)
                for file in self.secret.files
            }
        except RenderError:
            self.on_superseded(self.secret.name, material)
            raise
        old, self.material = self.material, replace(material, files=files)
        self._forced = ""
        self._wanted = reading.version
        same = old is not None and (old.version, old.files) == (reading.version, files)
        if reason != "poll" or not same:
            self._reads[reason] += 1
            lease = hashed(reading.lease_id)
            self._trail.record(
                "secrets.read",
                secret=self.secret.name,
                request_id=reading.request_id,
                reason=reason,
                lease=lease,
                version=reading.version,
            )
        if old is not None and old.lease_id:
            self.on_superseded(self.secret.name, old)
        if not same or (old is not None and old.carried):
            self.on_change()

    def status(self) -> SecretStatus:
        """For people and metrics."""
        now, material, step = self._clock.boot(), self.material, self._next()
        life = material.life if material else None
        return SecretStatus(
            name=self.secret.name,
            source=self.secret.source,
            state=self._state(),
            version=material.version if material else "",
            files=tuple(file.name for file in self.secret.files),
            read_at=material.read_at if material else None,
            last_success=self._last_success,
            expires_in_s=None if material is None or (end := self._end(material)) == NEVER else end - now,
            ends_in_s=None if life is None or life.last == NEVER else life.last - now,
            next_step=step.act.value if step else "login",
            next_in_s=max(0.0, step.at - now) if step and step.at < NEVER else None,
            failing_since=self._failing_since,
            mishap=self._mishap,
            reads=dict(self._reads),
        )

    def _end(self, material: Material) -> float:
        """A lease ends with its token."""
        tokens = [self._sessions.alive[item].life.end for item in material.sessions if item in self._sessions.alive]
        return min([material.life.end, *tokens])

    def _state(self) -> str:
        if self.material is None:
            return "waiting"
        if self.material.carried:
            return "carried"
        return "failing" if self._failing_since else "fresh"


_NAMES: dict[type[Exception], str] = {
    LoginError: "credential_unreadable",
    JournalError: "lease_journal_unwritable",
    SourceError: "unexpected_answer",
    RenderError: "not_renderable",
}


def _ignore(name: str, material: Material) -> None:
    """Nobody listens."""


def _template_of(file: FileSettings) -> str:
    if file.template_file is None:
        return file.template
    try:
        return file.template_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RenderError(
            f"file {file.name!r}: {file.template_file} cannot be read ({type(error).__name__})"
        ) from None
