"""A server of Vault's API in memory, on a test's clock, that fails on demand and counts requests.

`test_fake_vault.py` holds it against a real server.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pod_runtime.secret import Secret
from sidecar.secrets.clock import Clock
from sidecar.secrets.errors import VaultError, VaultFault
from sidecar.secrets.vault.answers import judge
from sidecar.secrets.vault.client import VaultAnswer

Rule = Callable[[str, str], VaultError | None]
ROLE_ID, SECRET_ID = "role", "secret"
DEAD, FORBIDDEN = "permission denied", "1 error occurred:\n\t* permission denied\n\n"
"""Words of the server for a dead token, and for a living one without the right."""
_WORDS = {403: FORBIDDEN, 404: ""}


@dataclass(slots=True)
class Token:
    accessor: str
    expires: float
    ends: float


@dataclass(frozen=True, slots=True)
class Version:
    data: dict[str, Any]
    made_at: datetime

    @property
    def created(self) -> str:
        """As the server writes it."""
        return self.made_at.isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class Lease:
    token: str
    path: str
    expires: float
    ends: float


@dataclass(frozen=True, slots=True)
class Request:
    time: float
    method: str
    path: str
    token: str
    outcome: str


@dataclass(repr=False)
class FakeVault:
    """`fails` answers instead of the server, `loses` after it did what it was asked."""

    clock: Clock
    token_ttl: float = 1200.0
    token_max_ttl: float = 86400.0
    lease_ttl: float = 3600.0
    lease_max_ttl: float = 86400.0
    secret_id: str = SECRET_ID
    secret_id_uses: float = float("inf")
    token_uses: int = 0
    token_period: float = 0.0
    batch: bool = False
    """Tokens without an accessor, which cannot be renewed or revoked."""
    password: str = "first"
    """Of the static role."""
    rotated: str = "2026-11-02T11:00:00Z"
    kv: dict[str, list[Version]] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    fails: Rule | None = None
    loses: Rule | None = None

    def __post_init__(self) -> None:
        self._number = itertools.count(1)

    def write(self, path: str, **data: Any) -> None:
        self.kv.setdefault(path, []).append(Version(data, self.clock.wall()))

    def delete(self, path: str) -> None:
        """With its metadata: the next version is the first again."""
        self.kv.pop(path)

    def count(self, word: str) -> int:
        """Requests whose path has a word."""
        return sum(word in item.path for item in self.requests)

    def times(self, word: str) -> list[float]:
        """Times of those whose path has a word."""
        return [item.time for item in self.requests if word in item.path]

    def failures(self, word: str = "") -> list[float]:
        """Times of the failed ones."""
        return [item.time for item in self.requests if word in item.path and item.outcome != "ok"]

    def revoke_token(self, token: str) -> None:
        """Its leases go with it."""
        self.tokens.pop(token, None)
        self.leases = {key: lease for key, lease in self.leases.items() if lease.token != token}

    def alive(self) -> tuple[int, int]:
        """Numbers of tokens and leases."""
        self._expire()
        return len(self.tokens), len(self.leases)

    async def call(
        self, method: str, path: str, *, token: Secret | None = None, body: Mapping[str, Any] | None = None
    ) -> VaultAnswer:
        text = token.reveal() if token else ""
        try:
            if self.fails and (error := self.fails(method, path)):
                raise error
            await asyncio.sleep(0)
            answer = self._answer(method, path, text, body or {})
            if self.loses and (error := self.loses(method, path)):
                raise error
        except VaultError as error:
            self.requests.append(Request(self.clock.boot(), method, path, text, error.fault.value))
            raise
        self.requests.append(Request(self.clock.boot(), method, path, text, "ok"))
        return answer

    def _answer(self, method: str, path: str, token: str, body: Mapping[str, Any]) -> VaultAnswer:
        self._expire()
        if path == "auth/approle/login":
            return self._login(body)
        if token not in self.tokens:
            raise failure(403, f"{method} {path}", words=DEAD)
        match path.split("/"):
            case ["auth", "token", verb]:
                return self._token(verb, token, body)
            case ["sys", "leases", verb]:
                return self._lease(verb, body)
            case ["secret", kind, *rest]:
                return self._kv(kind, "/".join(rest), f"{method} {path}")
            case ["database", "static-creds", _]:
                data = {"username": "app", "password": self.password, "ttl": 3600, "last_vault_rotation": self.rotated}
                return self._ok(data=data)
            case ["database", "creds", _]:
                return self._credentials(path, token)
            case _:
                raise failure(404, f"{method} {path}")

    def _login(self, body: Mapping[str, Any]) -> VaultAnswer:
        if (body.get("role_id"), body.get("secret_id")) != (ROLE_ID, self.secret_id) or self.secret_id_uses < 1:
            raise failure(400, "POST auth/approle/login")
        self.secret_id_uses -= 1
        number, now = next(self._number), self.clock.boot()
        self.tokens[f"token-{number}"] = Token(f"accessor-{number}", now + self.token_ttl, now + self.token_max_ttl)
        auth: dict[str, Any] = {
            "client_token": f"token-{number}",
            "accessor": "" if self.batch else f"accessor-{number}",
        }
        auth |= {"lease_duration": int(self.token_ttl), "num_uses": self.token_uses}
        return self._ok(auth=auth | {"renewable": not self.batch})

    def _token(self, verb: str, token: str, body: Mapping[str, Any]) -> VaultAnswer:
        held, now = self.tokens[token], self.clock.boot()
        if verb == "lookup-self":
            data = {"accessor": held.accessor, "ttl": int(held.expires - now), "renewable": True}
            return self._ok(data=data | ({"period": int(self.token_period)} if self.token_period else {}))
        if verb == "renew-self":
            increment = self.token_period or float(str(body.get("increment", self.token_ttl)).removesuffix("s"))
            held.expires = min(now + increment, held.ends)
            return self._ok(auth={"lease_duration": int(held.expires - now), "renewable": True})
        if verb == "revoke-self" and self.batch:
            raise failure(400, "POST auth/token/revoke-self", words="batch tokens cannot be revoked")
        if verb == "revoke-self":
            self.revoke_token(token)
            return VaultAnswer(status=204)
        found = [key for key, item in self.tokens.items() if item.accessor == body.get("accessor")]
        if not found:
            return self._ok()  # with a warning, as the real one
        if verb == "renew-accessor":
            other = self.tokens[found[0]]
            other.expires = min(now + self.token_ttl, other.ends)
            return self._ok(auth={"lease_duration": int(other.expires - now), "renewable": True})
        self.revoke_token(found[0])
        return VaultAnswer(status=204)

    def _lease(self, verb: str, body: Mapping[str, Any]) -> VaultAnswer:
        lease_id, now = str(body.get("lease_id")), self.clock.boot()
        lease = self.leases.get(lease_id)
        if verb == "revoke":
            self.leases.pop(lease_id, None)  # a lease that is gone is revoked with success
            return VaultAnswer(status=204)
        if lease is None and verb == "lookup":
            raise failure(400, "POST sys/leases/lookup", words="invalid lease")
        if verb == "lookup" and lease:
            return self._ok(data={"id": lease_id, "ttl": int(lease.expires - now), "renewable": True})
        if lease is None:
            raise failure(400, "POST sys/leases/renew", words="lease not found")
        lease.expires = min(now + float(body.get("increment") or self.lease_ttl), lease.ends)
        return self._ok(lease_id=lease_id, lease_duration=int(lease.expires - now), renewable=True)

    def _kv(self, kind: str, path: str, operation: str) -> VaultAnswer:
        versions = self.kv.get(path)
        if not versions:
            raise failure(404, operation)
        if kind == "metadata":
            entries = {
                str(number): {"deletion_time": "", "destroyed": False, "created_time": item.created}
                for number, item in enumerate(versions, 1)
            }
            return self._ok(data={"current_version": len(versions), "versions": entries})
        metadata = {"version": len(versions), "created_time": versions[-1].created}
        return self._ok(data={"data": versions[-1].data, "metadata": metadata})

    def _credentials(self, path: str, token: str) -> VaultAnswer:
        number, now = next(self._number), self.clock.boot()
        lease_id = f"{path}/{number}"
        self.leases[lease_id] = Lease(token, path, now + self.lease_ttl, now + self.lease_max_ttl)
        data = {"username": f"user-{number}", "password": f"password-{number}"}
        return self._ok(data=data, lease_id=lease_id, lease_duration=int(self.lease_ttl), renewable=True)

    def _ok(self, **parts: Any) -> VaultAnswer:
        return VaultAnswer(status=200, request_id=f"request-{next(self._number)}", **parts)

    def _expire(self) -> None:
        now = self.clock.boot()
        for token in [key for key, item in self.tokens.items() if item.expires <= now]:
            self.revoke_token(token)
        self.leases = {key: lease for key, lease in self.leases.items() if lease.expires > now}


def failure(status: int, operation: str = "", retry_after_s: float = 0.0, *, words: str | None = None) -> VaultError:
    """The error that a status of the server's becomes, with these or its usual words."""
    errors = [words if words is not None else _WORDS.get(status, "no")]
    return _error(status, operation, json.dumps({"errors": errors}).encode(), retry_after_s)


def foreign(status: int, operation: str = "") -> VaultError:
    """The error that the answer of something in front of the server becomes."""
    return _error(status, operation, b"<html>", 0.0)


def _error(status: int, operation: str, body: bytes, retry_after_s: float) -> VaultError:
    row = judge(status, body)
    detail = f"status {status}"
    return VaultError(row.fault, operation, detail, status=status, retry_after_s=retry_after_s, proof=row.proof)


def unreachable(method: str, path: str) -> VaultError:
    """A server that is not there."""
    return VaultError(VaultFault.UNREACHABLE, f"{method} {path}", "no connection")


def on(word: str, error: Callable[[str], VaultError]) -> Rule:
    """A rule for the paths that have a word."""
    return lambda method, path: error(f"{method} {path}") if word in path else None
