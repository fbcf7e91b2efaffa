"""Status of the secrets agent, for health, console and metrics; without a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sidecar.secrets.acknowledge import Rejection, Stage
from sidecar.secrets.errors import SecretsError


@dataclass(frozen=True, slots=True, kw_only=True)
class LastError:
    """The last failure: `name` is a constant, `message` is for people, `status` is HTTP's or 0."""

    name: str
    message: str
    time: datetime
    status: int = 0

    @staticmethod
    def of(error: SecretsError, time: datetime) -> LastError:
        """Describe an error of the agent."""
        return LastError(name=error.name, message=str(error), time=time, status=error.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretStatus:
    """One secret. Times in seconds are from now, None if unknown; `failing_since` is None while it is well.

    `state` is waiting (never read), fresh, failing (an older value lives on), carried (a predecessor's value) or ended
    (a lease whose token is dead).
    """

    name: str
    source: str
    state: str
    version: str = ""
    files: tuple[str, ...] = ()
    read_at: datetime | None = None
    last_success: datetime | None = None
    expires_in_s: float | None = None
    ends_in_s: float | None = None
    lasts_s: float | None = None
    """Whole life of what is published, from one renewal to its end; None for what does not expire."""
    next_step: str = ""
    next_in_s: float | None = None
    failing_since: datetime | None = None
    last_error: LastError | None = None
    reads: Mapping[str, int] = field(default_factory=dict)
    """By reason: first, new_version, end_of_life, new_token, expired, requested, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatus:
    """The token in use. `state` is none, valid or failing (it lives, but checks or renewals fail)."""

    method: str
    state: str
    accessor_hash: str = ""
    cli: str = ""
    """Command of the server's kind, `vault` or `bao`, told by the token's prefix; empty without a token."""
    expires_in_s: float | None = None
    ends_in_s: float | None = None
    last_success: datetime | None = None
    last_error: LastError | None = None
    logins: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsStatus:
    """All of the agent. `generation_*` are 0 before the first; Vault holds `sessions` and `leases` for it."""

    generation_published: int
    generation_acknowledged: int
    published_at: datetime | None
    stage: Stage | None
    token: TokenStatus
    secrets: tuple[SecretStatus, ...] = ()
    rejection: Rejection | None = None
    last_error: LastError | None = None
    """Of publishing itself, or of the volume."""
    sessions: int = 0
    leases: int = 0
    awaiting_retirement: int = 0
    requests: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By operation (login, read, poll, renew, check, revoke) and outcome (ok or the fault)."""
    ignored: Mapping[str, int] = field(default_factory=dict)
    """Reports of producers that counted for nothing, by reason: not_named, unknown_generation."""
    is_anyone_heard: bool = False
    """True if any producer's word has a lease revoked (`secrets.acknowledged_by` is empty)."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """publications, acknowledgements, rejections, timeouts, retirements."""
