"""Names of orders: ours, and the client id that the venue keeps for us."""

from __future__ import annotations

from dataclasses import dataclass

FAMILY = "bk"
"""Every client id of this program starts so, whoever runs it."""
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_PARTS = 4


def order_id(time_ms: int, chance: int) -> str:
    """A ULID (26 characters, Crockford base 32): sorts by time. `chance` has 80 random bits."""
    value = (time_ms << _RANDOM_BITS) | (chance & ((1 << _RANDOM_BITS) - 1))
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTag:
    """What a client id of ours says: `bk.<owner>.<epoch>.<order id>`; at most 128 characters at the venue."""

    owner: str
    """Who trades the account: one name a deployment."""
    epoch: int
    """Counts the owner's takings of the account."""
    order_id: str

    def __str__(self) -> str:
        return f"{FAMILY}.{self.owner}.{self.epoch}.{self.order_id}"


def parse_tag(client_id: str | None) -> ClientTag | None:
    """The tag in a client id, or None where it is somebody else's."""
    parts = (client_id or "").split(".")
    if len(parts) != _PARTS or parts[0] != FAMILY or not parts[2].isdecimal():
        return None
    return ClientTag(owner=parts[1], epoch=int(parts[2]), order_id=parts[3])
