"""The stream of a producer to its sidecar, opened again as often as it ends, for as long as the process lives."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import grpc.aio

from pod_runtime.backoff import Backoff
from pod_runtime.cancellation import PersistentTaskGroup, check_cancelled
from producer.emitter import Emitter
from producer.settings import ProducerSettings
from producer.spool.recovery import OrphanedSession, orphaned_sessions
from producer.stream.control import Conditions, ControlMessages
from producer.stream.publish import PublishSession, StreamEndedError

log = logging.getLogger(__name__)
# A channel that rests fails calls at once: its bounds are short, so that our own back-off decides when to try.
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_retries", 0),  # the library must not repeat a stream that went on in part
    ("grpc.use_local_subchannel_pool", 1),  # the recovery streams have a channel of their own
)
# A stream that lived that long worked: the next pause is the shortest again.
HEALTHY_AFTER_S = 5.0
# At 20,000 events/s of 160 bytes a segment of 1 MiB lasts 0.3 s: the spare one is ready before. Where little comes,
# there is nothing to prepare for minutes, and each look costs as much as thirty events.
SHORTEST_LOOK_S, LONGEST_LOOK_S = 0.02, 0.2
CHANNEL_DESCRIPTORS = 16


class StreamChannel:
    """Channel of one stream after another to the same sidecar. `async with` closes it."""

    def __init__(self, make: Callable[[], grpc.aio.Channel]) -> None:
        self._make = make
        self.open = make()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.open.close()

    async def renew(self) -> None:
        """Make another channel: a channel keeps a connection whose other end is gone without a word."""
        # gRPC (1.85) ends the process if it makes a channel and there are no descriptors: then the old one has to do.
        if has_descriptors(CHANNEL_DESCRIPTORS):
            await self.open.close()
            self.open = self._make()


def has_descriptors(count: int) -> bool:
    """True if the process may open so many files now."""
    opened: list[int] = []
    try:
        while len(opened) < count:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return True


class TelemetryStream:
    """One live stream at a time; beside it a stream for each session that a dead predecessor left.

    `conditions` is asked at each heartbeat. `control` tells the sidecar of secrets. `run` returns after the drain; it
    never raises for anything that the sidecar or the network does.
    """

    def __init__(self, emitter: Emitter, settings: ProducerSettings, conditions: Conditions) -> None:
        self.control = ControlMessages(emitter, conditions)
        self.begun = threading.Event()
        """Set once no further thread is needed: a program that ends begins none."""
        self._emitter, self._settings = emitter, settings
        self._backoff = Backoff(base_s=settings.backoff_s, cap_s=settings.backoff_cap_s)
        self._random = secrets.SystemRandom()
        self._drain_until_s: float | None = None
        self._stopping = asyncio.Event()
        """Set once `_drain_until_s` is."""
        self._recovered = False
        self._session = PublishSession(
            emitter.spool.queue, settings, control=self.control, coerced=emitter.coerced, rejected=emitter.rejected
        )

    @property
    def connected(self) -> bool:
        """True while the sidecar has welcomed us on the stream that is open."""
        return self._session.opened

    async def run(self, stop: asyncio.Event) -> None:
        """Delivers until `stop` is set and everything is acknowledged, at most `drain_s` longer."""
        async with PersistentTaskGroup(give_up=log.error) as tasks:  # the program may be another's
            beside = [tasks.create_task(work) for work in (self._maintain(), self._recover(), self._await_stop(stop))]
            await self._publish()
            for task in beside:
                task.cancel()

    async def _await_stop(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._drain_until_s = time.monotonic() + self._settings.drain_s
        self._stopping.set()

    def _drained(self) -> bool:
        if self._drain_until_s is None:
            return False
        # Events of predecessors count too: a pod that ends for good has no next process to deliver them.
        delivered = self._recovered and not self._emitter.spool.queue.held
        return delivered or time.monotonic() >= self._drain_until_s

    async def _maintain(self) -> None:
        pause_s = SHORTEST_LOOK_S
        while True:
            was_busy = self._emitter.spool.maintain(time.monotonic())
            self._emitter.watch_numpy()
            pause_s = SHORTEST_LOOK_S if was_busy else min(2 * pause_s, LONGEST_LOOK_S)
            await asyncio.sleep(pause_s)

    async def _publish(self) -> None:
        attempt = 0
        async with StreamChannel(self._channel) as channel:
            while True:
                started_s = time.monotonic()
                if await _attempt(self._session, channel, self._drained):
                    return
                attempt = 0 if time.monotonic() - started_s > HEALTHY_AFTER_S else attempt + 1
                if await self._rest(self._delay_s(max(0, attempt - 1))):
                    return

    def _delay_s(self, attempt: int) -> float:
        return self._backoff.delay_s(attempt, self._random.random())

    async def _rest(self, delay_s: float) -> bool:
        """Waits before the next try; True if there is none, for the time to drain is over."""
        until_s = time.monotonic() + delay_s
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        if self._drain_until_s is None:
            return False
        await asyncio.sleep(min(until_s, self._drain_until_s) - time.monotonic())
        return time.monotonic() >= self._drain_until_s

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"unix:{self._settings.socket}", options=CHANNEL_OPTIONS)

    async def _recover(self) -> None:
        spool = self._emitter.spool
        own = spool.queue.meta.session_id
        # In a thread: whole segments are read and their checksums compared, up to the size of the spool.
        listing = asyncio.get_running_loop().run_in_executor(None, orphaned_sessions, spool.directory.parent, own)
        self.begun.set()
        for session in await listing:
            try:
                await self._deliver(session)
            finally:
                session.release()
        self._recovered = True

    async def _deliver(self, orphan: OrphanedSession) -> None:
        queue, rejected = orphan.queue, Counter[str]()
        session = PublishSession(queue, self._settings, coerced=self._emitter.coerced, rejected=rejected)
        attempt, waiting = 0, queue.held
        async with StreamChannel(self._channel) as channel:
            # The pauses are not reset by progress: a session that damages the stream each time gets the longest.
            while queue.held and not await _attempt(session, channel, lambda: not queue.held):
                await asyncio.sleep(self._delay_s(attempt))
                attempt += 1
        if waiting:
            extra = {"session": queue.meta.session_id, "events": waiting, "rejected": dict(rejected)}
            log.info("events of a predecessor delivered", extra=extra)


async def _attempt(session: PublishSession, channel: StreamChannel, done: Callable[[], bool]) -> bool:
    """Runs one stream; True if it ended because everything is done."""
    try:
        await session.run(channel.open, done)
    except StreamEndedError as error:
        log.warning("telemetry stream ended", extra={"reason": error.reason})
        await channel.renew()
    except grpc.aio.AioRpcError as error:
        extra = {"reason": error.code().name.lower(), "detail": str(error.details())[:300]}
        log.warning("telemetry stream ended", extra=extra)
    except Exception:
        log.exception("telemetry stream failed")  # a fault of ours must not end the process
    else:
        return True
    check_cancelled()
    return False
