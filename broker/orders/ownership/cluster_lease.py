"""Cluster lease: ownership of an account through a Lease object (coordination.k8s.io/v1), used as client-go does.

Three rules are client-go's (tools/leaderelection). Our own clock judges if another's lease has run out, from the
moment when we last saw it change, never the times written in it. Every write names the version that it replaces, so
that two cannot win. Our own deadline runs from before a write was sent. `leaseTransitions` is the epoch.
`lease_answer` says what each answer proves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from lightkube import AsyncClient, ConfigError
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease as LeaseObject

from broker.orders.dependencies import NOBODY
from broker.orders.ownership.lease import MARGIN_SHARE, boot_time_s
from broker.orders.ownership.lease_answer import (
    LeaseDeed,
    LeaseRequest,
    UnreadableLeaseError,
    deed_of,
    response_of,
    retry_after_s,
)

NOTE = "broker.role/handed-on"
"""Annotation with the owner's handover note."""
RETRY_S = 2.0
POLL_EVERY_S = 1.0
"""Seconds between a standby's attempts: each is a request to the API server, for each account."""
FAILED = {
    LeaseRequest.READ: "lease not read",
    LeaseRequest.CLAIM: "lease not taken",
    LeaseRequest.RENEW: "lease not renewed",
    LeaseRequest.RELEASE: "lease not released",
}
REMEDY = "compare the role's verbs (get, create, update) and resourceNames with the Lease's name, and its namespace"
log = logging.getLogger(__name__)
Connect = Callable[[], AsyncClient]
"""Makes the client of the API server; errors of an answer have its `response`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLease:
    """The Lease as we last read it, and since when it is unchanged by our clock."""

    version: str | None = None
    """Its resourceVersion; None where it does not exist."""
    holder: str = ""
    epoch: int = 0
    lease_s: float = 0.0
    acquired: datetime | None = None
    """Time of its holder's acquisition, as the holder wrote it."""
    since_s: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def wait_s(seen: SeenLease, *, me: str, now_s: float) -> float:
    """Seconds that a successor must wait; 0 lets it acquire now."""
    if not seen.holder or seen.holder == me:
        return 0.0
    return max(0.0, seen.since_s + seen.lease_s * (1 + MARGIN_SHARE) - now_s)


class ClusterLease:
    """Ownership of an account through a Lease object. The caller releases it."""

    def __init__(
        self, connect: Connect, name: str, *, lease_s: float, me: str | None = None, address: str = ""
    ) -> None:
        self._connect = connect
        self._name = name
        self._lease_s = lease_s
        name_of_us = me or f"{socket.gethostname()}_{os.getpid()}"
        self._me = f"{name_of_us}@{address}" if address else name_of_us
        self._seen = SeenLease()
        self._renewed_s = 0.0
        self._note: str | None = None
        """Our handover note; None before we have one, and the annotation stays as it is."""
        self.note_changed = asyncio.Event()
        self.epoch = 0
        self.poll_every_s = POLL_EVERY_S
        self.renew_every_s = lease_s / 4

    @cached_property
    def _client(self) -> AsyncClient:
        # At first use: the client reads the service account's files, which only a pod has.
        return self._connect()

    def holds(self) -> bool:
        """True while we may send orders: our own clock decides, since the API server is too far to ask."""
        return self.is_unexpired()

    def is_unexpired(self) -> bool:
        """True while our time runs."""
        return bool(self.epoch) and boot_time_s() < self._renewed_s + self._lease_s * (1 - MARGIN_SHARE)

    def is_free(self) -> bool:
        """True if a successor need not wait, as of the last refresh."""
        return wait_s(self._seen, me=self._me, now_s=boot_time_s()) == 0.0

    def quiet_s(self) -> float:
        """Seconds since the owner's last sign, as of the last refresh."""
        return boot_time_s() - self._seen.since_s

    def holder(self) -> str:
        """The owner as of the last refresh, in words; NOBODY also where it is this process."""
        return f"{self._seen.holder} (epoch {self._seen.epoch})" if self._seen.holder not in {"", self._me} else NOBODY

    def address(self) -> str:
        """`host:port` of the owner's order API: the part of its identity behind the @."""
        return self._seen.holder.partition("@")[2]

    async def refresh(self) -> None:
        """Read the current owner; if the API server does not answer, what we knew stays."""
        await self._ask(LeaseRequest.READ, self._read(), self._lease_s / 4)

    def note(self) -> str:
        """Handover note of the previous owner, or ours since."""
        return self._seen.annotations.get(NOTE, "") if self._note is None else self._note

    def hand_over(self, note: str) -> None:
        """Keep a note for the next owner; the next renewal writes it."""
        self._note = note
        self.note_changed.set()

    async def acquire(self) -> float:
        """Try to become the owner: 0 on success, else seconds until the next attempt is worth it."""
        self.epoch = 0
        self._note = None
        started_s = boot_time_s()
        # Half of the lease, which runs from before the request: a later success would be too short to use.
        fault = await self._ask(LeaseRequest.CLAIM, self._claim(), self._lease_s / 2)
        if fault is not None:
            return max(RETRY_S, retry_after_s(fault))
        # Not by the time: another's lease may have run out since the claim left it alone.
        if self._seen.holder != self._me:
            return wait_s(self._seen, me=self._me, now_s=boot_time_s()) or POLL_EVERY_S
        self.epoch, self._renewed_s = self._seen.epoch, started_s
        return 0.0

    async def _claim(self) -> None:
        await self._read()
        if wait_s(self._seen, me=self._me, now_s=boot_time_s()) == 0.0:
            await self._write(self._me, self._seen.epoch + 1)

    async def renew(self) -> bool:
        """Extend the ownership; False if it is too late or another process has taken over.

        An API server that does not answer changes nothing until our own deadline.
        """
        started_s = boot_time_s()
        if not self.is_unexpired():
            return False
        fault = await self._extend()
        if fault is not None and deed_of(fault, LeaseRequest.RENEW) is LeaseDeed.MAKE:
            self._seen = replace(self._seen, version=None)
            fault = await self._extend()
        if fault is None:
            self._renewed_s = started_s
        elif deed_of(fault, LeaseRequest.RENEW) is LeaseDeed.LOOK:
            await self.refresh()
            # Somebody may only have changed a label.
            if (self._seen.holder, self._seen.epoch) != (self._me, self.epoch):
                self.epoch = 0
        return self.is_unexpired()

    async def _extend(self) -> Exception | None:
        return await self._ask(LeaseRequest.RENEW, self._write(self._me, self.epoch), self._lease_s / 4)

    async def release(self) -> None:
        """Give it up; the successor need not wait."""
        # A standby releases nothing: it would end the owner's term.
        if not self.epoch:
            return
        epoch, self.epoch = self.epoch, 0
        await self._ask(LeaseRequest.RELEASE, self._write("", epoch), self._lease_s / 4)

    async def _ask(
        self, asked: LeaseRequest, request: Coroutine[Any, Any, None], deadline_s: float
    ) -> Exception | None:
        """Ask the API server; the fault as a value, once it was logged."""
        try:
            async with asyncio.timeout(deadline_s):
                await request
        except Exception as error:
            known = isinstance(error, (ConfigError, TimeoutError, OSError, UnreadableLeaseError))
            shown = {"lease": self._name, "fault": f"{type(error).__name__}: {error}"}
            if deed_of(error, asked) is LeaseDeed.NAME:
                shown["remedy"] = REMEDY
            log.warning(FAILED[asked], extra=shown, exc_info=not known and response_of(error) is None)
            return error
        return None

    async def _read(self) -> None:
        try:
            found = await self._client.get(LeaseObject, self._name)
        except Exception as error:
            if deed_of(error, LeaseRequest.READ) is not LeaseDeed.FREE:
                raise
            # Who held it may still trade until its own deadline, and the epoch never goes back. Where nobody held it we
            # look from now on.
            self._seen = replace(self._seen, version=None, since_s=self._seen.since_s or boot_time_s())
        else:
            self._note_seen(found)

    async def _write(self, holder: str, epoch: int) -> None:
        now = datetime.now(UTC)
        acquired = now if epoch != self._seen.epoch else self._seen.acquired
        spec = LeaseSpec(
            holderIdentity=holder,
            leaseDurationSeconds=max(1, round(self._lease_s)),
            renewTime=with_fraction(now),
            # client-go's meaning: the time of the acquisition stays over renewals.
            acquireTime=with_fraction(acquired) if acquired is not None else None,
            leaseTransitions=epoch,
        )
        lease = LeaseObject(metadata=self._metadata(), spec=spec)
        # Either is refused with 409 if another process was first: it made the Lease, or changed the version.
        write = self._client.create if self._seen.version is None else self._client.replace
        written = await write(lease)
        said = written.spec or LeaseSpec()
        if (said.holderIdentity or "", said.leaseTransitions) != (holder, epoch):
            raise UnreadableLeaseError("the answer to a write is not the Lease as it was written")
        self._note_seen(written)

    def _metadata(self) -> ObjectMeta:
        # A replacement removes every label and annotation that it does not repeat, others' as well.
        annotations = dict(self._seen.annotations)
        if self._note is not None:
            annotations[NOTE] = self._note
        return ObjectMeta(
            name=self._name,
            resourceVersion=self._seen.version,
            labels=dict(self._seen.labels) or None,
            annotations=annotations or None,
        )

    def _note_seen(self, found: LeaseObject) -> None:
        spec, metadata = found.spec or LeaseSpec(), found.metadata or ObjectMeta()
        if metadata.name != self._name or not metadata.resourceVersion:
            raise UnreadableLeaseError(f"the answer is no Lease {self._name}")
        # since_s: our clock, now. The times in the object are another machine's.
        new = SeenLease(
            version=metadata.resourceVersion,
            holder=spec.holderIdentity or "",
            epoch=spec.leaseTransitions or 0,
            lease_s=float(spec.leaseDurationSeconds or 0),
            acquired=spec.acquireTime,
            since_s=boot_time_s(),
            labels=metadata.labels or {},
            annotations=metadata.annotations or {},
        )
        # Every renewal changes the version, so that an unchanged one means a holder that does not renew.
        same = (new.version, new.holder) == (self._seen.version, self._seen.holder)
        self._seen = replace(new, since_s=self._seen.since_s) if same else new


def with_fraction(moment: datetime) -> datetime:
    """Return the time, a microsecond later if it is a whole second.

    lightkube writes a whole second without a fraction, which the API server does not take for a MicroTime (400).
    """
    return moment if moment.microsecond else moment.replace(microsecond=1)
