"""Messages to the agent's loop, and the context that every part of the agent is given.

The part that notices a change posts a message, and `SecretsAgent._loop` acts on it. So the parts need not know each
other, and a change is handled after the call that noticed it has ended, never in the middle of it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum

from sidecar.secrets.audit import AuditTrail
from sidecar.secrets.clock import Clock
from sidecar.secrets.lease.record import LeaseJournal
from sidecar.secrets.lease.schedule import Failures, Life
from sidecar.secrets.lease.session import VaultSessions
from sidecar.secrets.settings import SecretsSettings


class Change(Enum):
    """A change that another part of the agent acts on."""

    VERSION = "a secret has another version, or was tried for the first time: a generation may be due"
    SESSION = "another token is in use, or none: all secrets look at their schedules again"
    LEASES_IN_USE = "a generation was published, recomposed or acknowledged: a lease may have become free"


@dataclass(slots=True, kw_only=True)
class SupersededLease:
    """A lease that was replaced and may still be in use; the revoker keeps it until no reader needs it.

    `asked_s` is asked for at each renewal; 0: its role's own ttl.
    """

    secret: str
    lease_id: str = field(repr=False)
    session: int
    life: Life
    asked_s: float
    failures: Failures = field(default_factory=Failures)


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedSecret:
    """A secret of the newest generation that a producer could not use: it is read anew."""

    secret: str


# The queue has no maxsize, for `put_nowait` must not fail in the middle of a change of state. It stays short all the
# same: the agent's loop awaits nothing but the queue and empties it at each of its turns, and one turn of the event
# loop posts at most three messages for each secret, two for the token and one for each report of a producer.
Messages = asyncio.Queue[Change | SupersededLease | RejectedSecret]


@dataclass(frozen=True, slots=True)
class AgentContext:
    """Parts of one agent that all the others work with."""

    settings: SecretsSettings
    clock: Clock
    trail: AuditTrail
    messages: Messages
    journal: LeaseJournal
    sessions: VaultSessions
