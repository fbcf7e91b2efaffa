"""One request to the collector, again and again until it is taken or refused for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import grpc

from pod_runtime.backoff import Backoff
from sidecar.export.client import Connection, Headers, SetupError
from sidecar.export.settings import OtlpSettings
from sidecar.export.status import Signal
from sidecar.export.verdict import Failure, Verdict, judge

Observe = Callable[[str, str, float], None]
"""Told of each request: signal, outcome, seconds."""


class Sender:
    """Sends serialised requests over one connection. Closed by `close`."""

    def __init__(self, settings: OtlpSettings, *, chance: Callable[[], float], observe: Observe | None) -> None:
        self._chance = chance
        self._observe = observe
        self._backoff = Backoff(base_s=settings.backoff_base_s, cap_s=settings.backoff_cap_s)
        self._headers = Headers(settings)
        self._connection = Connection(settings)

    async def close(self) -> None:
        """Ends the connection."""
        await self._connection.close()

    async def send(self, signal: Signal, data: bytes) -> Any:
        """The response, or the Failure of data that is refused for good; waits for a collector that is away."""
        attempt = 0
        while True:
            answer = await self._try(signal, data)
            if not isinstance(answer, Failure) or answer.verdict is Verdict.REFUSE:
                return answer
            delay_s = answer.retry_after_s
            if delay_s is None:
                delay_s = self._backoff.delay_s(attempt, self._chance())
            attempt += 1
            signal.retries += 1
            await asyncio.sleep(delay_s)

    async def _try(self, signal: Signal, data: bytes) -> Any:
        signal.requests += 1
        began = perf_counter()
        try:
            response = await self._connection.call(signal.path, signal.response, data, self._headers.metadata())
        except grpc.aio.AioRpcError as error:
            failure = judge(error.code(), error.details() or "", error.trailing_metadata() or ())
        except SetupError as error:
            failure = Failure(Verdict.HOLD, error.reason, str(error))
        else:
            self._seen(signal, "ok", began)
            signal.succeed()
            return response
        self._seen(signal, failure.reason, began)
        signal.fail(failure)
        await self._connection.mend()
        return failure

    def _seen(self, signal: Signal, outcome: str, began: float) -> None:
        if self._observe is not None:
            self._observe(signal.name, outcome, perf_counter() - began)
