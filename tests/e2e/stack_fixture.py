"""A whole stack of real processes for a test: loopback, free ports, files in a temporary directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devstack.settings import temporary_place
from devstack.stack import Stack
from tests.ports import free_port

OURS = ("broker", "sidecar", "simulator")


@asynccontextmanager
async def running_stack(*, otlp_endpoint: str = "", seed: int = 1) -> AsyncIterator[Stack]:
    """Starts everything and ends everything; all three of ours must drain with status 0."""
    with temporary_place() as place:
        # A broker that is started again is where it was: who asks it by address, as Prometheus does, finds it.
        preferred = {"api": free_port()}
        stack = Stack(place, print, seed, preferred=preferred, otlp_endpoint=otlp_endpoint)
        try:
            await stack.start()
            yield stack
        finally:
            ended = await stack.stop()
        assert {name: ended[name] for name in OURS} == dict.fromkeys(OURS, 0)
