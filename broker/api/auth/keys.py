"""API keys: who may ask for what. Only hashes of keys are known here."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

SCOPES = frozenset({"read", "trade", "admin"})
MAX_KEY_BYTES = 1024
_HASH_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Client:
    """The holder of an API key."""

    id: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys of one generation: SHA-256 of the key, as 64 hexadecimal digits, to its holder."""

    clients: tuple[tuple[str, Client], ...] = ()

    def find(self, key: str) -> Client | None:
        """The holder of `key`. The time it takes says nothing about how near a wrong key is."""
        if len(key) > MAX_KEY_BYTES:
            return None
        presented = sha256(key.encode(errors="surrogatepass")).hexdigest()
        found = None
        for digest, client in self.clients:
            if hmac.compare_digest(digest, presented):
                found = client
        return found


def parse_api_keys(text: str) -> ApiKeys:
    """Reads `{"keys": [{"id", "sha256", "scopes"}]}`.

    Raises:
        ValueError: names the entry and the field that is wrong, never its value.
    """
    keys = _member(json.loads(text), "keys", list)
    found = tuple(_entry(raw, f"keys[{index}]") for index, raw in enumerate(keys))
    ids = [client.id for _, client in found]
    if twice := sorted({name for name in ids if ids.count(name) > 1 and _scopes_differ(found, name)}):
        raise ValueError(f"the id {twice[0]!r} has entries with different scopes")
    return ApiKeys(found)


def _scopes_differ(found: tuple[tuple[str, Client], ...], name: str) -> bool:
    """Two keys of one holder are a rotation with overlap; two sets of scopes are a mistake."""
    return len({client.scopes for _, client in found if client.id == name}) > 1


def _entry(raw: Any, where: str) -> tuple[str, Client]:
    name = _member(raw, "id", str, where)
    digest = _member(raw, "sha256", str, where).lower()
    if len(digest) != _HASH_CHARACTERS or not all(letter in "0123456789abcdef" for letter in digest):
        raise ValueError(f"{where}.sha256 must be 64 hexadecimal digits, is a text of {len(digest)} characters")
    scopes = frozenset(str(item) for item in _member(raw, "scopes", list, where))
    if unknown := sorted(scopes - SCOPES):
        raise ValueError(f"{where}.scopes has {len(unknown)} unknown; known are {', '.join(sorted(SCOPES))}")
    if not name or len(name) > 64:  # noqa: PLR2004 - goes into labels and log records
        raise ValueError(f"{where}.id must be 1 to 64 characters")
    return digest, Client(name, scopes)


def _member(raw: Any, name: str, kind: type[Any], where: str = "") -> Any:
    label = f"{where}.{name}" if where else name
    if not isinstance(raw, dict) or not isinstance(raw.get(name), kind):
        raise ValueError(  # noqa: TRY004 - one kind of error for a file that is wrong
            f"{label} is missing or is not {'an array' if kind is list else 'a text'}"
        )
    return raw[name]
