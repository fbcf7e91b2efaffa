"""Errors of the secrets agent: one class for each party that has to act, with a constant name for log and console.

No error holds a response's body or a credential: a server's text may repeat the values that it was sent.
"""

from __future__ import annotations

from enum import StrEnum

# Before a refused secret id is tried again. Vault and OpenBao lock an AppRole for 15 min, for every pod that logs in
# with it, after five refusals within 15 min: three replicas with a bad secret id must stay below that.
REFUSED_PAUSE_S = 900.0
# Before a login that met such a lock is tried again; these attempts do not count as refusals.
LOCKED_PAUSE_S = 60.0


class SecretsError(Exception):
    """Base of the errors that the agent reports and retries.

    `status` is the HTTP status and `retry_after_s` the least wait before the next attempt; 0 where there is none.
    """

    name: str = ""
    status: int = 0
    retry_after_s: float = 0.0


class VaultFault(StrEnum):
    """Kinds of failure that a request to Vault can meet."""

    INVALID = "invalid"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    FOREIGN = "foreign_answer"
    RATE_LIMITED = "rate_limited"
    SEALED = "sealed"
    SERVER = "server"
    REDIRECT = "redirect"
    TIMEOUT = "timeout"
    TLS = "tls"
    UNREACHABLE = "unreachable"
    CONNECTION = "connection"
    PROTOCOL = "protocol"


class Proof(StrEnum):
    """Facts that a failed request proves; `vault/answers.py` says which answer proves what, and what follows."""

    NOT_SENT = "the request did not reach a server"
    NOT_DONE = "the server did not do it and may do it later"
    NOTHING = "the server may have done it although nobody says so"
    REFUSED = "the server does not do it as it was asked"
    RIGHT_MISSING = "the token lives, and its policy lacks the right"
    TOKEN_DEAD = "the token is dead, or never was one"  # noqa: S105 - a sentence
    ID_UNKNOWN = "the lease or the accessor has ended"


_PROOFS = {
    VaultFault.UNREACHABLE: Proof.NOT_SENT,
    VaultFault.TLS: Proof.NOT_SENT,
    VaultFault.TIMEOUT: Proof.NOTHING,
    VaultFault.PROTOCOL: Proof.NOTHING,
    VaultFault.CONNECTION: Proof.NOTHING,
}


class VaultError(SecretsError):
    """A request to Vault failed. Its name is that of its fault."""

    def __init__(
        self,
        fault: VaultFault,
        operation: str,
        detail: str,
        *,
        status: int = 0,
        retry_after_s: float = 0.0,
        proof: Proof | None = None,
    ) -> None:
        super().__init__(f"{operation}: {detail}")
        self.fault, self.proof = fault, proof or _PROOFS.get(fault, Proof.NOT_DONE)
        self.name = fault.value
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def ambiguous(self) -> bool:
        """True if the server may have done what it was asked although no answer came."""
        return self.proof is Proof.NOTHING


class LoginError(SecretsError):
    """A credential cannot be used to log in; the text names its file and the fault."""

    name = "credential_unreadable"


class SpentError(LoginError):
    """The credential was used up before; only another one helps."""

    name = "secret_id_spent"
    retry_after_s = REFUSED_PAUSE_S


class LockedError(LoginError):
    """The AppRole's login is forbidden: too many refused secret ids, of any pod, lock it for a while."""

    name = "role_locked"
    retry_after_s = LOCKED_PAUSE_S


class UseLimitedError(LoginError):
    """The role gives tokens that work a few times only; each poll is a use, and the last one revokes every lease."""

    name = "token_use_limited"
    retry_after_s = REFUSED_PAUSE_S


class SameTokenError(LoginError):
    """The token of the file nears its end, and the file has no other one yet."""

    name = "token_not_replaced"
    retry_after_s = REFUSED_PAUSE_S


class LeaseJournalError(SecretsError):
    """The lease journal refused an intent, so the agent must not act on it; the text says why."""

    name = "lease_journal_unwritable"


class SourceError(SecretsError):
    """Vault's answer lacks a field that its kind of secret must have; the text names it."""

    name = "unexpected_answer"


class DeletedError(SourceError):
    """The current version of a kv secret is deleted or destroyed."""

    name = "version_deleted"


class StaleError(SecretsError):
    """The server answered with an older version than one that it has shown: a standby that lags behind."""

    name = "stale_answer"


class RenderError(SecretsError):
    """A file cannot be made of a secret; the text names the file and the field, never a value."""

    name = "not_renderable"


class PublishError(SecretsError):
    """The shared volume cannot be used; the text says why and what to do."""

    name = "publication_failed"
