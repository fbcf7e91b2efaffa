"""A lease around another: what it does not say otherwise, the inner one answers."""

from __future__ import annotations

from broker.orders.ownership.lease import Lease


class OuterLease:
    """Passes everything on to the lease in it. A rule of its own overrides what it is about."""

    def __init__(self, inner: Lease) -> None:
        self._inner = inner

    @property
    def epoch(self) -> int:
        """Of our taking; 0 is none."""
        return self._inner.epoch

    @property
    def look_every_s(self) -> float:
        """How often to look."""
        return self._inner.look_every_s

    @property
    def renew_every_s(self) -> float:
        """How often to renew."""
        return self._inner.renew_every_s

    def is_wanted(self) -> bool:
        """Whether it is ours to keep."""
        return self._inner.is_wanted()

    def holds(self) -> bool:
        """Whether we may send now."""
        return self._inner.holds()

    def is_in_time(self) -> bool:
        """Whether our time runs."""
        return self._inner.is_in_time()

    def is_free(self) -> bool:
        """Whether nobody has it, as far as we know."""
        return self._inner.is_free()

    def holder(self) -> str:
        """Who owns it."""
        return self._inner.holder()

    def address(self) -> str:
        """Where the order API of who owns it is."""
        return self._inner.address()

    async def look(self) -> None:
        """Learns who owns it."""
        await self._inner.look()

    def note(self) -> str:
        """What the owner before handed on."""
        return self._inner.note()

    def hand_on(self, note: str) -> None:
        """Keeps a text for whoever comes after us."""
        self._inner.hand_on(note)

    async def take(self) -> float:
        """Tries to become the owner: 0 where we are, else seconds until it is worth trying again."""
        return await self._inner.take()

    async def renew(self) -> bool:
        """Goes on owning; False where it is too late or another has taken over."""
        return await self._inner.renew()

    async def release(self) -> None:
        """Gives it up."""
        await self._inner.release()
