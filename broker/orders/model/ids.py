"""Names of orders: ours, and the client id that the venue keeps for us."""

from __future__ import annotations

from hashlib import blake2b
from itertools import product

from msgspec import Struct

FAMILY = "bk"
"""Every client id of this program starts so, whoever runs it."""
_CROCKFORD = [one + two for one, two in product("0123456789ABCDEFGHJKMNPQRSTVWXYZ", repeat=2)]
_RFC4648 = [one + two for one, two in product("abcdefghijklmnopqrstuvwxyz234567", repeat=2)]
_RANDOM_BITS = 80
_PARTS = 5


def order_id(time_ms: int, chance: int) -> str:
    """A ULID (26 characters, Crockford base 32): sorts by time. `chance` has 80 random bits."""
    value = (time_ms << _RANDOM_BITS) | (chance & ((1 << _RANDOM_BITS) - 1))
    return _base32(value, 26, _CROCKFORD)


def caller_digest(client: str, client_order_id: str) -> str:
    """16 characters that stand for a caller and its id: a successor without our journal knows the order by them."""
    digest = blake2b(f"{client}\0{client_order_id}".encode(), digest_size=10).digest()
    return _base32(int.from_bytes(digest, "big"), 16, _RFC4648)


def _base32(value: int, length: int, pairs: list[str]) -> str:
    """`length` characters (an even number), two at a time: each order needs two such names before it may go."""
    return "".join([pairs[(value >> shift) & 1023] for shift in range(5 * length - 10, -1, -10)])


class ClientTag(Struct, frozen=True, kw_only=True):
    """What a client id of ours says: `bk.<owner>.<epoch>.<order id>.<caller>`; the venue takes 128 characters."""

    owner: str
    """Who trades the account: one name a deployment."""
    epoch: int
    """Counts the owner's takings of the account."""
    order_id: str
    caller: str
    """See `caller_digest`."""

    def __str__(self) -> str:
        return f"{FAMILY}.{self.owner}.{self.epoch}.{self.order_id}.{self.caller}"


def parse_tag(client_id: str | None) -> ClientTag | None:
    """The tag in a client id, or None where it is somebody else's."""
    parts = (client_id or "").split(".")
    if len(parts) != _PARTS or parts[0] != FAMILY or not parts[2].isdecimal():
        return None
    return ClientTag(owner=parts[1], epoch=int(parts[2]), order_id=parts[3], caller=parts[4])
