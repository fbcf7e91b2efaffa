"""Pace of new connections: a bound on their rate, of one address and of all, before a TLS handshake.

No socket, no clock.

Why
    The table of connections bounds how many are open at once, not how often they come anew; and a handshake takes a
    millisecond or two of the processor, on the loop that sends orders.

Whom it does not hold back
    Addresses of callers: those from which a connection with a good key is open, or was within KNOWN_S. Keys have quotas
    of their own.

Reserve
    A part of what all may do together is for addresses that have hardly connected of late: Prometheus, which has no
    key, and a caller's first connection. One that is refused has cost an accept and a close.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Literal

from broker.api.auth.keys import Quota
from broker.api.settings import ApiSettings
from broker.venue.rest.rate_limit import Bucket

KNOWN_S = 600.0
KNOWN_ADDRESSES = 4096
RESERVED_SHARE = 0.2
QUIET = 10.0
"""Connections, beyond what its rate has given back, up to which an address may use the reserve."""


class ConnectionPace:
    """Decides if a new connection comes too soon; its bursts are what may be open at once."""

    def __init__(self, settings: ApiSettings) -> None:
        self._burst, self._address_burst = settings.connections, settings.connections_per_address
        self._all = Bucket(settings.connections_per_s, self._burst)
        self._of_address = Quota(settings.connections_per_s_per_address, self._address_burst)
        self._open: Counter[str] = Counter()
        """Connections with a good key."""
        self._known: OrderedDict[str, float] = OrderedDict()
        """Addresses whose last one has ended, with the end of the time for which they are remembered."""

    def refusal(self, address: str, now_s: float) -> Literal["rate", "address-rate"] | None:
        """Count a new connection; the reason if it comes too soon."""
        if address in self._open or self._known.get(address, now_s) > now_s:
            return None
        is_quiet = self._address_burst - self._of_address.left(address, now_s) < QUIET
        if self._of_address.wait_s(address, now_s) > 0:
            return "address-rate"
        if self._all.wait_s(now_s, 0.0 if is_quiet else RESERVED_SHARE * self._burst) > 0:
            return "rate"
        self._all = self._all.taken(now_s)
        return None

    def recognize(self, address: str) -> None:
        """Note that a connection of the address has shown a good key."""
        self._open[address] += 1

    def release(self, address: str, now_s: float) -> None:
        """Note that a connection that had shown a good key has ended."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]
            self._known[address] = now_s + KNOWN_S
            self._known.move_to_end(address)
            if len(self._known) > KNOWN_ADDRESSES:
                self._known.popitem(last=False)
