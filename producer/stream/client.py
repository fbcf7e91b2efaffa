"""Carries the broker's events, health and news of its secrets to the sidecar, for as long as the process lives."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import grpc.aio

from pod_runtime.backoff import Backoff
from producer.emitter import Emitter
from producer.health import Condition, EmitterCondition, camel_case
from producer.settings import TelemetrySettings
from producer.spool.recovery import forget, leftovers
from producer.spool.unacked_queue import Leftover
from producer.stream.publish import Exchange, Say, StreamEndedError
from telemetry_contract.v1 import telemetry_pb2 as pb

log = logging.getLogger(__name__)
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # the recovery streams have a channel of their own
)
HEALTHY_AFTER_S = 5.0
TEND_INTERVAL_S = 0.02
MAX_REASON = 64
MAX_MESSAGE = 1000


class TelemetryStream:
    """One live stream at a time, opened again as often as it ends; beside it what predecessors left.

    `conditions` is asked at each heartbeat. `run` returns after the drain; it never raises for what the
    sidecar or the network does.
    """

    def __init__(
        self,
        emitter: Emitter,
        settings: TelemetrySettings,
        conditions: Callable[[], Sequence[Condition]],
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._emitter = emitter
        self._settings = settings
        self._conditions = conditions
        self._chance = chance
        self._backoff = Backoff(base_s=settings.backoff_s, cap_s=settings.backoff_cap_s)
        self._news: dict[str, pb.PublishRequest] = {}
        self._unsaid: dict[str, pb.PublishRequest] = {}
        self._spool_since = datetime.now(UTC)
        self._spool_reason = "Ready"
        self._leave_at_s: float | None = None
        self._recovered = False
        self.begun = threading.Event()
        """Set once no further thread is needed: a program that ends begins none."""
        self._exchange = Exchange(
            emitter.spool, settings, talk=self._talk, mended=emitter.mended, rejected=emitter.rejected
        )

    @property
    def connected(self) -> bool:
        """Whether the sidecar has welcomed us on the stream that is open."""
        return self._exchange.opened

    def secrets_applied(self, generation: int) -> None:
        """Tells the sidecar, also after a reconnection, that a generation works."""
        message = pb.SecretsApplied(generation=generation, time_unix_nano=time.time_ns())
        self._tell("applied", pb.PublishRequest(secrets_applied=message))
        self._news.pop("rejected", None)

    def secrets_rejected(self, generation: int, secret: str, reason: str, message: str) -> None:
        """Tells the sidecar that a generation cannot be used; `message` without secrets."""
        refusal = pb.SecretsRejected(
            generation=generation, secret=secret, reason=reason[:MAX_REASON], message=message[:MAX_MESSAGE]
        )
        self._tell("rejected", pb.PublishRequest(secrets_rejected=refusal))

    def _tell(self, what: str, message: pb.PublishRequest) -> None:
        self._news[what] = message
        self._unsaid[what] = message

    async def run(self, stop: asyncio.Event) -> None:
        """Delivers until `stop` is set and everything is acknowledged, at most `drain_s` longer."""
        async with asyncio.TaskGroup() as tasks:
            side = [
                tasks.create_task(self._tend()),
                tasks.create_task(self._recover()),
                tasks.create_task(self._leave(stop)),
            ]
            await self._live()
            for task in side:
                task.cancel()

    async def _leave(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._leave_at_s = time.monotonic() + self._settings.drain_s

    def _leaving(self) -> bool:
        if self._leave_at_s is None:
            return False
        delivered = self._recovered and not self._emitter.spool.held
        return delivered or time.monotonic() >= self._leave_at_s

    async def _tend(self) -> None:
        while True:
            self._emitter.spool.tend(time.monotonic())
            await asyncio.sleep(TEND_INTERVAL_S)

    async def _live(self) -> None:
        farewell = pb.PublishRequest(goodbye=pb.Goodbye(reason="sigterm"))
        attempt = 0
        async with self._channel() as channel:
            while True:
                started_s = time.monotonic()
                if await self._once(self._exchange, channel, self._leaving, farewell):
                    return
                attempt = 0 if time.monotonic() - started_s > HEALTHY_AFTER_S else attempt + 1
                if await self._rest(self._backoff.delay_s(max(0, attempt - 1), self._chance())):
                    return

    async def _rest(self, delay_s: float) -> bool:
        """Waits before the next try. Whether there is none: the time to drain is over."""
        until_s = time.monotonic() + delay_s
        while time.monotonic() < until_s:
            if self._leave_at_s is not None and time.monotonic() >= self._leave_at_s:
                return True
            await asyncio.sleep(min(0.05, delay_s))
        return False

    async def _once(
        self,
        exchange: Exchange,
        channel: grpc.aio.Channel,
        done: Callable[[], bool],
        farewell: pb.PublishRequest | None,
    ) -> bool:
        try:
            await exchange.run(channel, done, farewell)
        except StreamEndedError as error:
            log.warning("telemetry stream ended", extra={"reason": error.reason})
        except grpc.aio.AioRpcError as error:
            extra = {"reason": error.code().name.lower(), "detail": str(error.details())[:300]}
            log.warning("telemetry stream ended", extra=extra)
        except Exception:
            log.exception("telemetry stream failed")  # a fault of ours must not end the process that trades
        else:
            return True
        return False

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"unix:{self._settings.socket}", options=CHANNEL_OPTIONS)

    async def _recover(self) -> None:
        """Delivers what killed predecessors left, one session after the other."""
        spool = self._emitter.spool
        own = spool.meta.session_id
        listing = asyncio.get_running_loop().run_in_executor(None, _left_in, spool.directory.parent, own)
        self.begun.set()
        for leftover in await listing:
            try:
                await self._deliver(leftover)
            finally:
                forget(leftover)
        self._recovered = True

    async def _deliver(self, leftover: Leftover) -> None:
        rejected: Counter[str] = Counter()
        exchange = Exchange(leftover, self._settings, recovery=True, mended=self._emitter.mended, rejected=rejected)
        attempt, waiting = 0, leftover.held
        async with self._channel() as channel:
            while leftover.held and not await self._once(exchange, channel, lambda: not leftover.held, None):
                await asyncio.sleep(self._backoff.delay_s(attempt, self._chance()))
                attempt += 1
        extra = {"session": leftover.meta.session_id, "events": waiting, "rejected": dict(rejected)}
        if waiting:
            log.info("events of a predecessor delivered", extra=extra)

    def _talk(self, welcome: pb.Welcome) -> Say:
        """What is due to be said besides batches, on a stream that `welcome` opened."""
        self._unsaid = dict(self._news)
        interval_s = max(0.02, welcome.heartbeat_interval_ms / 1000 / 2)
        due_s = 0.0

        def due(last: bool) -> Iterator[pb.PublishRequest]:
            nonlocal due_s
            now_s = time.monotonic()
            if last or now_s >= due_s:
                due_s = now_s + interval_s
                yield pb.PublishRequest(heartbeat=self._heartbeat())
            while self._unsaid:
                yield self._unsaid.pop(next(iter(self._unsaid)))

        return due

    def _heartbeat(self) -> pb.Heartbeat:
        conditions = (*self._conditions(), self._spool_condition())
        return pb.Heartbeat(
            time_unix_nano=time.time_ns(),
            conditions=map(_condition, conditions),
            ledger=self._emitter.ledger().message(),
        )

    def _spool_condition(self) -> Condition:
        """Whether events survive the process; never a reason not to trade."""
        spool = self._emitter.spool
        reason, message = "Ready", "events are kept in the spool until they are acknowledged"
        if spool.fault is not None:
            reason, message = "VolumeFailing", f"events are kept in memory only: {spool.fault.strerror}"
        elif spool.full:
            reason, message = (
                "SpoolFull",
                "only orders, fills and refusals are taken; the rest is dropped and counted",
            )
        if reason != self._spool_reason:
            self._spool_reason, self._spool_since = reason, datetime.now(UTC)
        return Condition(
            name=EmitterCondition.TELEMETRY_SPOOL,
            ok=reason == "Ready",
            reason=reason,
            message=message,
            since=self._spool_since,
            advisory=True,
        )


def _left_in(spool: Path, own: str) -> list[Leftover]:
    try:
        return list(leftovers(spool, own))
    except OSError as error:
        log.error("spool cannot be read", extra={"reason": str(error)})  # noqa: TRY400 - the reason says it
        return []


def _condition(item: Condition) -> pb.Condition:
    return pb.Condition(
        name=camel_case(item.name)[:MAX_REASON],
        ok=item.ok,
        reason=camel_case(item.reason)[:MAX_REASON],
        message=item.message[:MAX_MESSAGE],
        since_unix_nano=int(item.since.timestamp() * 1e9),
        advisory=item.advisory,
    )
