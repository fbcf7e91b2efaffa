"""Table of a listener's open connections: admits a new one, makes room for it, or refuses it. No socket, no clock.

Strangers
    A connection is a stranger until it shows a good key (`recognize`). Strangers alone make room, and only those on
    which no request is under way, so nobody with a key ever loses a connection to one who has none.

Room
    A table that is full drops the oldest stranger of the address that holds the most of them. So a flood from one
    address cannot shut out a probe, a scrape or a caller from another; and a caller among the flood has the time in
    which the whole table is filled anew to show its key.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

C = TypeVar("C", bound=Hashable)
_IPV6_NETWORK = 64

Refusal = Literal["connections", "address"]


@dataclass(frozen=True, slots=True)
class Admission(Generic[C]):
    """Answer to a new connection: `refusal` is None if it was admitted, `evicted` what has to be closed for it."""

    refusal: Refusal | None = None
    evicted: C | None = None


@dataclass(slots=True)
class _Place:
    address: str
    since_s: float
    known: bool = False


class ConnectionTable(Generic[C]):
    """Open connections, at most `limit`, and at most `per_address` strangers of one address."""

    def __init__(self, limit: int, per_address: int) -> None:
        self._limit = limit
        self._per_address = per_address
        self._places: dict[C, _Place] = {}
        self._strangers: defaultdict[str, int] = defaultdict(int)
        self._idle: dict[str, set[C]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def admit(self, connection: C, address: str, now_s: float) -> Admission[C]:
        """Take a new connection in, if there is room or room can be made."""
        evicted = None
        if self._strangers.get(address, 0) >= self._per_address:
            evicted = self._oldest(address)
            if evicted is None:
                return Admission("address")
        elif len(self._places) >= self._limit:
            evicted = self._oldest(max(self._idle, key=self._weight, default=""))
            if evicted is None:
                return Admission("connections")
        # At once and not when its socket is closed: the next newcomer must find another.
        if evicted is not None:
            self.remove(evicted)
        self._places[connection] = _Place(address, now_s)
        self._strangers[address] += 1
        self._rest(connection, address)
        return Admission(evicted=evicted)

    def recognize(self, connection: C) -> None:
        """Note that a connection has shown a good key: it is no stranger any more."""
        place = self._places.get(connection)
        if place is not None and not place.known:
            place.known = True
            self._stir(connection, place.address)
            self._forget(place.address)

    def begin(self, connection: C) -> None:
        """Note that a request is under way: the connection is not dropped until its `end`."""
        if (place := self._places.get(connection)) is not None:
            self._stir(connection, place.address)

    def end(self, connection: C) -> None:
        """Note that no request is under way any more."""
        place = self._places.get(connection)
        if place is not None and not place.known:
            self._rest(connection, place.address)

    def remove(self, connection: C) -> None:
        """Forget a connection that is closed; one that is not in the table is none."""
        if (place := self._places.pop(connection, None)) is not None and not place.known:
            self._stir(connection, place.address)
            self._forget(place.address)

    def _weight(self, address: str) -> int:
        return self._strangers[address]

    def _oldest(self, address: str) -> C | None:
        """The idle stranger of an address that came first; a later request makes it no younger."""
        return min(self._idle.get(address, ()), key=lambda item: self._places[item].since_s, default=None)

    def _rest(self, connection: C, address: str) -> None:
        self._idle.setdefault(address, set()).add(connection)

    def _stir(self, connection: C, address: str) -> None:
        if (idle := self._idle.get(address)) is not None:
            idle.discard(connection)
            if not idle:
                del self._idle[address]

    def _forget(self, address: str) -> None:
        self._strangers[address] -= 1
        if not self._strangers[address]:
            del self._strangers[address]


def network_of(host: str) -> str:
    """The network that counts as one peer: an IPv4 address, or the /64 of an IPv6 address, which is one site's."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        # A socket for both families shows IPv4 peers so; they would all be one network.
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_NETWORK), strict=False))
    return str(address)
