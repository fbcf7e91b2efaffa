"""The verdicts as `grpc.health.v1` services named as the probes; the empty name is `livez`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from sidecar.health.conditions import PROBES

Status = HealthCheckResponse.ServingStatus
_OVERALL = ""


class GrpcHealth:
    """Keeps the official servicer told. `run` takes what `tell` was given; both belong to one event loop."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()
        self._verdicts: Mapping[str, bool] = dict.fromkeys(PROBES, False)
        self._changed = asyncio.Event()
        self._changed.set()

    def tell(self, verdicts: Mapping[str, bool]) -> None:
        """Takes the verdicts to be served."""
        self._verdicts = verdicts
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Serves each change until `stop`, then says NOT_SERVING for all."""
        async with asyncio.TaskGroup() as tasks:
            follower = tasks.create_task(self._follow())
            await stop.wait()
            follower.cancel()
        await self.servicer.enter_graceful_shutdown()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for name, ok in {**self._verdicts, _OVERALL: self._verdicts["livez"]}.items():
                await self.servicer.set(name, Status.SERVING if ok else Status.NOT_SERVING)
