"""The taking of an account in a cluster: a Lease object (coordination.k8s.io/v1), used as client-go's election does.

What matters is kept from there: whether another's lease has run out is judged by our own clock, from when we last
saw it change, never by the times written in it; every write names the version that it replaces, so that two cannot
win; our own deadline runs from before a write was sent. `leaseTransitions` is the epoch.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from lightkube import AsyncClient, ConfigError
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease as LeaseObject

from broker.orders.ownership.lease import MARGIN_SHARE, boot_time_s

NOT_FOUND, CONFLICT = 404, 409
NOTE = "broker.role/handed-on"
"""The annotation that an owner's note is kept in."""
RETRY_S = 2.0
LOOK_EVERY_S = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The Lease as we last read it, and since when it has been so on our clock."""

    version: str | None = None
    """Its resourceVersion; None where it does not exist."""
    holder: str = ""
    epoch: int = 0
    lease_s: float = 0.0
    acquired: datetime | None = None
    """Since when its holder has it, as that one wrote."""
    since_s: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def wait_s(seen: Seen, *, me: str, now_s: float) -> float:
    """How long a successor must wait; 0 is take it now."""
    if not seen.holder or seen.holder == me:
        return 0.0
    return max(0.0, seen.since_s + seen.lease_s * (1 + MARGIN_SHARE) - now_s)


class Api(Protocol):
    """What is asked of the API server; its errors have the `response`."""

    async def get(self, name: str) -> LeaseObject:
        """Reads a Lease."""

    async def create(self, lease: LeaseObject) -> LeaseObject:
        """Makes it; 409 where it exists."""

    async def replace(self, lease: LeaseObject) -> LeaseObject:
        """Replaces the version that the object names; 409 where it is another."""


class ClusterApi:
    """The API server that the pod's service account reaches, in the pod's namespace."""

    def __init__(self, connect: Callable[[], AsyncClient] = AsyncClient) -> None:
        self._connect = connect
        self._client: AsyncClient | None = None

    def _connected(self) -> AsyncClient:
        if self._client is None:
            self._client = self._connect()
        return self._client

    async def get(self, name: str) -> LeaseObject:
        """Reads a Lease."""
        return await self._connected().get(LeaseObject, name)

    async def create(self, lease: LeaseObject) -> LeaseObject:
        """Makes it; 409 where it exists."""
        return await self._connected().create(lease)

    async def replace(self, lease: LeaseObject) -> LeaseObject:
        """Replaces the version that the object names; 409 where it is another."""
        return await self._connected().replace(lease)


class ClusterLease:
    """The taking of an account through a Lease object. `release` it."""

    def __init__(self, api: Api, name: str, *, lease_s: float, me: str | None = None, address: str = "") -> None:
        self._api = api
        self._name = name
        self._lease_s = lease_s
        name_of_us = me or f"{socket.gethostname()}_{os.getpid()}"
        self._me = f"{name_of_us}@{address}" if address else name_of_us
        self._seen = Seen()
        self._renewed_s = 0.0
        self._note: str | None = None
        """Ours; None while we have not said anything, and what is there stays."""
        self.epoch = 0

    @property
    def look_every_s(self) -> float:
        """How often to look: each is a request to the API server, of each standby for each account."""
        return LOOK_EVERY_S

    @property
    def renew_every_s(self) -> float:
        """How often to renew."""
        return self._lease_s / 4

    def holds(self) -> bool:
        """Whether we may send now: our own clock decides."""
        return self.is_in_time()

    def is_in_time(self) -> bool:
        """Whether our time runs."""
        return bool(self.epoch) and boot_time_s() < self._renewed_s + self._lease_s * (1 - MARGIN_SHARE)

    def is_free(self) -> bool:
        """Whether a successor need not wait, as far as the last look told."""
        return wait_s(self._seen, me=self._me, now_s=boot_time_s()) == 0.0

    def holder(self) -> str:
        """Who owns it as far as we know, in words."""
        return f"{self._seen.holder} (epoch {self._seen.epoch})" if self._seen.holder else "nobody"

    def address(self) -> str:
        """Where the order API of who owns it is: behind the @ of the holder's identity."""
        return self._seen.holder.partition("@")[2]

    async def look(self) -> None:
        """Learns who owns it; an API server that does not answer leaves what we knew."""
        try:
            async with asyncio.timeout(self._lease_s / 4):
                await self._look()
        except Exception as error:  # noqa: BLE001 - as below
            self._say("lease not read", error)

    def note(self) -> str:
        """What the owner before handed on, or we since."""
        return self._seen.annotations.get(NOTE, "") if self._note is None else self._note

    def hand_on(self, note: str) -> None:
        """Keeps a text for whoever comes after us, from the next renewal on."""
        self._note = note

    def is_wanted(self) -> bool:
        """Always: whoever has it keeps it."""
        return True

    async def take(self) -> float:
        """Tries to become the owner: 0 where we are, else seconds until it is worth trying again."""
        self.epoch = 0
        self._note = None
        started_s = boot_time_s()
        try:
            async with asyncio.timeout(self._lease_s / 2):
                await self._look()
                if (left_s := wait_s(self._seen, me=self._me, now_s=boot_time_s())) > 0:
                    return left_s
                await self._write(self._me, self._seen.epoch + 1)
        except Exception as error:  # noqa: BLE001 - whatever keeps us from the API server: we do not own, and try again
            self._say("lease not taken", error)
            return RETRY_S
        self.epoch, self._renewed_s = self._seen.epoch, started_s
        return 0.0

    async def renew(self) -> bool:
        """Goes on owning; False where it is too late or another has taken over.

        An API server that does not answer changes nothing until our own deadline.
        """
        started_s = boot_time_s()
        if not self.is_in_time():
            return False
        try:
            async with asyncio.timeout(self._lease_s / 4):
                await self._write(self._me, self.epoch)
        except Exception as error:  # noqa: BLE001 - as above; the deadline decides
            self._say("lease not renewed", error)
            return await self._is_still_ours(error)
        self._renewed_s = started_s
        return self.is_in_time()

    async def _is_still_ours(self, error: Exception) -> bool:
        """After a conflict the object says whose it is; anybody may have touched its labels."""
        if _status(error) == CONFLICT:
            try:
                async with asyncio.timeout(self._lease_s / 4):
                    await self._look()
            except Exception as second:  # noqa: BLE001 - as above
                self._say("lease not read", second)
            if (self._seen.holder, self._seen.epoch) != (self._me, self.epoch):
                self.epoch = 0
        return self.is_in_time()

    async def release(self) -> None:
        """Gives it up; the successor need not wait."""
        if not self.epoch:
            return
        epoch, self.epoch = self.epoch, 0
        try:
            async with asyncio.timeout(self._lease_s / 4):
                await self._write("", epoch)
        except Exception as error:  # noqa: BLE001 - it runs out by itself
            self._say("lease not released", error)

    async def _look(self) -> None:
        try:
            found = await self._api.get(self._name)
        except Exception as error:
            if _status(error) != NOT_FOUND:
                raise
            self._seen = Seen(since_s=boot_time_s())
        else:
            self._see(found)

    async def _write(self, holder: str, epoch: int) -> None:
        now = datetime.now(UTC)
        spec = LeaseSpec(
            holderIdentity=holder,
            leaseDurationSeconds=max(1, round(self._lease_s)),
            renewTime=now,
            acquireTime=now if epoch != self._seen.epoch else self._seen.acquired,
            leaseTransitions=epoch,
        )
        lease = LeaseObject(metadata=self._metadata(), spec=spec)
        self._see(await (self._api.create(lease) if self._seen.version is None else self._api.replace(lease)))

    def _metadata(self) -> ObjectMeta:
        """A replacement without what others wrote there would remove it."""
        annotations = dict(self._seen.annotations)
        if self._note is not None:
            annotations[NOTE] = self._note
        return ObjectMeta(
            name=self._name,
            resourceVersion=self._seen.version,
            labels=dict(self._seen.labels) or None,
            annotations=annotations or None,
        )

    def _see(self, found: LeaseObject) -> None:
        """What is read; `since_s` stays where nothing has changed."""
        spec, metadata = found.spec or LeaseSpec(), found.metadata or ObjectMeta()
        new = Seen(
            version=metadata.resourceVersion,
            holder=spec.holderIdentity or "",
            epoch=spec.leaseTransitions or 0,
            lease_s=float(spec.leaseDurationSeconds or 0),
            acquired=spec.acquireTime,
            since_s=boot_time_s(),
            labels=metadata.labels or {},
            annotations=metadata.annotations or {},
        )
        same = (new.version, new.holder) == (self._seen.version, self._seen.holder)
        self._seen = replace(new, since_s=self._seen.since_s) if same else new

    def _say(self, what: str, error: Exception) -> None:
        known = _status(error) is not None or isinstance(error, (ConfigError, TimeoutError, OSError))
        log.warning(
            what, extra={"lease": self._name, "fault": f"{type(error).__name__}: {error}"}, exc_info=not known
        )


def _status(error: Exception) -> int | None:
    """The HTTP status of an answer; lightkube makes an ApiError of some and lets others through as they are."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
