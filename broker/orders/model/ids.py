"""Makers of every id of an order, and the client id that the venue keeps for us. Pure: time and chance are arguments.

order id                 01M7Q5CQG0…       26 characters, ours; sorts by time
client order id          the caller's own; `auto-<order id>` if it gives none, `close-<order id>` for such a close
client id at the venue   bk.<owner>.<epoch>.<order id>.<caller digest>.<client digest>
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from itertools import product

from msgspec import Struct

FAMILY = "bk"
"""First part of every client id of this program, whatever its owner."""
RANDOM_BITS = 80
"""Randomness of an id, as in a ULID: no two ids of one millisecond meet."""
_CROCKFORD = [one + two for one, two in product("0123456789ABCDEFGHJKMNPQRSTVWXYZ", repeat=2)]
_RFC4648 = [one + two for one, two in product("abcdefghijklmnopqrstuvwxyz234567", repeat=2)]
_PARTS = (5, 6)
"""Versions before 0.2 wrote no digest of the client."""


def random_bits(chance: Callable[[], float]) -> int:
    """80 random bits from a source of floats in [0, 1)."""
    # A float of random.random carries 53 bits (docs.python.org/3/library/random), so that one is not enough.
    return int(chance() * (1 << 53)) << 27 | int(chance() * (1 << 27))


def order_id(time_ms: int, chance: int) -> str:
    """A ULID (26 characters, Crockford base 32): sorts by time. `chance` has 80 random bits."""
    value = (time_ms << RANDOM_BITS) | (chance & ((1 << RANDOM_BITS) - 1))
    return _base32(value, 26, _CROCKFORD)


def auto_client_order_id(now: datetime, chance: int) -> str:
    """A client order id for a caller that gives none."""
    return f"auto-{order_id(milliseconds(now), chance)}"


def close_client_order_id(now: datetime, chance: int) -> str:
    """A client order id for a close whose caller gives none."""
    return f"close-{order_id(milliseconds(now), chance)}"


def milliseconds(now: datetime) -> int:
    """Unix time in milliseconds, rounded down."""
    return int(now.timestamp() * 1000)


def caller_digest(client: str, client_order_id: str) -> str:
    """16 characters that stand for a caller and its id, so that a successor without our journal knows the order."""
    digest = blake2b(f"{client}\0{client_order_id}".encode(), digest_size=10).digest()
    return _base32(int.from_bytes(digest, "big"), 16, _RFC4648)


@lru_cache(maxsize=1024)
def client_digest(client: str) -> str:
    """8 characters that stand for a client, so that a successor without our journal knows its orders and trades."""
    return _base32(int.from_bytes(blake2b(client.encode(), digest_size=5).digest(), "big"), 8, _RFC4648)


def _base32(value: int, length: int, pairs: list[str]) -> str:
    """Encode `length` characters (an even number)."""
    # Two characters a step: every order needs two such ids before it may be sent.
    return "".join([pairs[(value >> shift) & 1023] for shift in range(5 * length - 10, -1, -10)])


class ClientTag(Struct, frozen=True, kw_only=True):
    """The parts of a client id of ours, with points between them; the venue takes 128 characters."""

    owner: str
    """Setting `orders.owner`: one name a deployment."""
    epoch: int
    """Number of the ownership term that sent the order."""
    order_id: str
    caller: str
    """See `caller_digest`."""
    client: str = ""
    """See `client_digest`."""

    def __str__(self) -> str:
        mark = f".{self.client}" if self.client else ""
        return f"{FAMILY}.{self.owner}.{self.epoch}.{self.order_id}.{self.caller}{mark}"


def parse_tag(client_id: str | None) -> ClientTag | None:
    """The tag in a client id, or None if another program made it."""
    parts = (client_id or "").split(".")
    if len(parts) not in _PARTS or parts[0] != FAMILY or not parts[2].isdecimal():
        return None
    client = parts[5] if len(parts) > _PARTS[0] else ""
    return ClientTag(owner=parts[1], epoch=int(parts[2]), order_id=parts[3], caller=parts[4], client=client)
