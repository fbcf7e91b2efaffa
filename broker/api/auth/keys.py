"""API keys, their holders, scopes and quotas. The broker knows only hashes of keys."""

from __future__ import annotations

import hmac
import json
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

from broker.venue.rest.rate_limit import Bucket

SCOPES = frozenset({"read", "trade", "admin"})
MAX_KEY_BYTES = 1024
MAX_CLIENTS = 10_000
_HASH_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class ApiClient:
    """The holder of an API key."""

    id: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys of one generation: SHA-256 of the key, as 64 hexadecimal digits, to its holder."""

    clients: tuple[tuple[str, ApiClient], ...] = ()

    def find(self, key: str) -> ApiClient | None:
        """The holder of `key`."""
        if len(key) > MAX_KEY_BYTES:  # a header may be long: not worth hashing
            return None
        # Comparing all digests in constant time: the answer's delay tells nothing about how near a wrong key came.
        presented = sha256(key.encode(errors="surrogatepass")).hexdigest()
        found = None
        for digest, client in self.clients:
            if hmac.compare_digest(digest, presented):
                found = client
        return found


class ApiKeySource(Protocol):
    """The keys in use now; see `broker.credentials.watcher`."""

    def api_keys(self) -> ApiKeys | None:
        """None before the first generation of secrets."""


def parse_api_keys(text: str) -> ApiKeys:
    """Parse `{"keys": [{"id", "sha256", "scopes"}]}`; a ValueError names the wrong field, never its value."""
    keys = _member(json.loads(text), "keys", list)
    found = tuple(_parse_entry(raw, f"keys[{index}]") for index, raw in enumerate(keys))
    # Two keys of one holder are a rotation with overlap; two sets of scopes are a mistake.
    ids = [client.id for client in {client for _, client in found}]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise ValueError(f"the id {twice[0]!r} has entries with different scopes")
    return ApiKeys(found)


def _parse_entry(raw: Any, where: str) -> tuple[str, ApiClient]:
    name = _member(raw, "id", str, where)
    digest = _member(raw, "sha256", str, where).lower()
    if len(digest) != _HASH_CHARACTERS or not all(letter in "0123456789abcdef" for letter in digest):
        raise ValueError(f"{where}.sha256 must be 64 hexadecimal digits, is a text of {len(digest)} characters")
    scopes = frozenset(str(item) for item in _member(raw, "scopes", list, where))
    if unknown := sorted(scopes - SCOPES):
        raise ValueError(f"{where}.scopes has {len(unknown)} unknown; known are {', '.join(sorted(SCOPES))}")
    if not name or len(name) > 64:  # noqa: PLR2004 - goes into labels and log records
        raise ValueError(f"{where}.id must be 1 to 64 characters")
    return digest, ApiClient(name, scopes)


def _member(raw: Any, name: str, kind: type[Any], where: str = "") -> Any:
    label = f"{where}.{name}" if where else name
    if not isinstance(raw, dict) or not isinstance(raw.get(name), kind):
        wanted = "an array" if kind is list else "a text"
        raise ValueError(f"{label} is missing or is not {wanted}")  # noqa: TRY004 - one kind of error for a wrong file
    return raw[name]


class Quota:
    """Requests that each client may send: a GCRA bucket for each id of API keys."""

    def __init__(self, requests_per_s: float, burst: float) -> None:
        self._fresh = Bucket(requests_per_s, burst)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """Count one request of `client`; 0 if it may pass, else the seconds until the next may."""
        bucket = self._buckets.get(client, self._fresh)
        if (wait_s := bucket.wait_s(now_s)) > 0:
            return wait_s
        self._buckets[client] = bucket.taken(now_s)
        self._buckets.move_to_end(client)
        # A bound on memory only: the client that was idle longest has long had its whole burst back.
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0

    def left(self, client: str, now_s: float) -> float:
        """Requests that the client may send at once."""
        return self._buckets.get(client, self._fresh).tokens(now_s)

    def give_back(self, client: str) -> None:
        """Undo one count: another broker counts the request."""
        if (bucket := self._buckets.get(client)) is not None:
            self._buckets[client] = bucket.given_back()
