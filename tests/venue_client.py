"""A client of the venue for tests: connections of its own, and one account's requests over them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from broker.venue.rest.client import VenueRest
from broker.venue.rest.connection_pool import VenueConnections
from broker.venue.settings import VenueSettings
from pod_runtime.secret import Secret
from producer.emitter import Emit


@dataclass(slots=True)
class FakeTokens:
    """Tokens from `source`; keeps those that the venue refused."""

    source: Callable[[], Secret | None]
    rejected: list[Secret] = field(default_factory=list)

    def token(self) -> Secret | None:
        return self.source()

    def on_unauthorized(self, token: Secret) -> None:
        self.rejected.append(token)


def new_rest(
    settings: VenueSettings,
    token: Callable[[], Secret | None],
    *,
    emit: Emit = lambda _: None,
    chance: Callable[[], float] = random.random,
) -> VenueRest:
    """A client whose connections are not opened yet: `async with rest.connections` opens them."""
    connections = VenueConnections(settings, emit)
    return VenueRest(settings, connections, tokens=FakeTokens(token), emit=emit, chance=chance)


@asynccontextmanager
async def open_rest(
    settings: VenueSettings,
    token: Callable[[], Secret | None],
    *,
    emit: Emit = lambda _: None,
    chance: Callable[[], float] = random.random,
) -> AsyncIterator[VenueRest]:
    """A client that can send."""
    rest = new_rest(settings, token, emit=emit, chance=chance)
    async with rest.connections:
        yield rest
