"""Health over gRPC: each probe is a service of `grpc.health.v1`, and the empty service name is `livez`.

Clients such as grpc-go watch the empty name, and the kubelet's gRPC probe asks for it by default.
https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from sidecar.health.conditions import PROBES

ServingStatus = HealthCheckResponse.ServingStatus
_OVERALL = ""


class GrpcHealth:
    """Forwards verdicts to the official servicer. `tell` and `run` belong to one event loop."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()
        self._verdicts: Mapping[str, bool] = dict.fromkeys(PROBES, False)
        self._changed = asyncio.Event()
        # Set from the start: a client that watches hears NOT_SERVING, not that the service is unknown.
        self._changed.set()

    def tell(self, verdicts: Mapping[str, bool]) -> None:
        """Take the verdicts that `run` serves next; only the latest ones count."""
        self._verdicts = verdicts
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve each change until `stop`, then answer NOT_SERVING for all of them."""
        async with asyncio.TaskGroup() as tasks:
            follower = tasks.create_task(self._follow())
            await stop.wait()
            follower.cancel()
        await self.servicer.enter_graceful_shutdown()

    async def _follow(self) -> None:
        # `servicer.set` is a coroutine and `tell` is called from synchronous code, so an event parts the two.
        while True:
            await self._changed.wait()
            self._changed.clear()
            for name, ok in {**self._verdicts, _OVERALL: self._verdicts["livez"]}.items():
                await self.servicer.set(name, ServingStatus.SERVING if ok else ServingStatus.NOT_SERVING)
