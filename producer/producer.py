"""The producer for any program: an emitter, and a thread that delivers its events.

with Producer(settings, CATALOGUE, resource={"service.name": "bakery"}) as producer:
    producer.emit(LoafBaked("rye", 0.4))
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Self

from producer.declare import Catalogue
from producer.emitter import Emit, EmitAt, Emitter
from producer.fork import watch_forks
from producer.health import EmitterLedger
from producer.settings import ProducerSettings
from producer.stream.client import TelemetryStream
from producer.stream.control import Conditions

BEGIN_S = 5.0


class Producer:
    """An emitter with a thread of its own that delivers its events; asyncio and plain programs may both use it.

    Leaving the block delivers the events that are left, for at most `settings.drain_s`; the rest waits in the spool
    for the next start. `emitter` declares further event types. `constant_labels` go on every metric. `conditions` is
    asked at each heartbeat, in that thread.
    A program with an event loop of its own runs `TelemetryStream` in it instead. It belongs to the process that
    made it: in a child of fork(2) its events are refused and counted as `forked`, and leaving the block does nothing.
    """

    def __init__(
        self,
        settings: ProducerSettings,
        catalogue: Catalogue,
        *,
        resource: Mapping[str, str] | None = None,
        constant_labels: Mapping[str, str] | None = None,
        conditions: Conditions = tuple,
    ) -> None:
        self.emitter = Emitter(settings, catalogue=catalogue, resource=resource, constant_labels=constant_labels)
        self._stream = TelemetryStream(self.emitter, settings, conditions)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        # A daemon, so that a program that forgets to leave the block ends; its events wait in the spool.
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._is_child = False
        watch_forks(self)

    def forked(self) -> None:
        """Leaves the thread and its loop to the parent (`producer.fork`)."""
        self._is_child = True

    @property
    def emit(self) -> Emit:
        """Takes an event; when it has returned, the event is counted, or dropped and counted so."""
        return self.emitter.emit

    @property
    def emit_at(self) -> EmitAt:
        """Takes an event that happened at a time of the past, in nanoseconds since the epoch."""
        return self.emitter.emit_at

    def ledger(self) -> EmitterLedger:
        """Fate of every event so far."""
        return self.emitter.ledger()

    def __enter__(self) -> Self:
        if self._is_child:
            raise RuntimeError("this Producer was made before the fork: make one in the child")
        self._thread.start()
        # A program that ends at once must not begin the executor's thread while the interpreter shuts down.
        self._stream.begun.wait(BEGIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        # The loop waits by a descriptor that the parent's loop waits by, too.
        if self._is_child:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self.emitter.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._stream.run(self._stop))
