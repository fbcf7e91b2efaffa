"""The way to the sidecar for any program: what it declares is counted and logged with the broker's promises.

with Producer(settings, Catalogue([...]), resource={"service.name": "bakery"}) as producer:
    producer.emit(LoafBaked("rye", 0.4))
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from producer.declare import Catalogue, Event
from producer.emitter import Emit, Emitter
from producer.health import Condition
from producer.ledger import Ledger
from producer.settings import TelemetrySettings
from producer.stream.client import TelemetryStream

BEGIN_S = 5.0
Conditions = Callable[[], Sequence[Condition]]


class Producer:
    """An emitter, and a thread of its own that carries its events; asyncio and plain programs may both use it.

    Leaving the block delivers what is left, for at most `settings.drain_s`; the rest waits in the spool for the next
    start. `conditions` is asked at each heartbeat, in that thread.
    """

    def __init__(
        self,
        settings: TelemetrySettings,
        catalogue: Catalogue,
        *,
        resource: Mapping[str, str] | None = None,
        conditions: Conditions = tuple,
    ) -> None:
        self._emitter = Emitter(settings, catalogue=catalogue, resource=resource)
        self._stream = TelemetryStream(self._emitter, settings, conditions)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._carry, name="telemetry", daemon=True)

    @property
    def emit(self) -> Emit:
        """Takes an event; when it has returned, the event is counted, or dropped and counted so."""
        return self._emitter.emit

    def declare(self, event: Event) -> None:
        """Takes a further event type, from any thread."""
        self._emitter.declare(event)

    def refuse(self, name: str, reason: str) -> None:
        """Counts an event that cannot be taken; it stands in the ledger."""
        self._emitter.refuse(name, reason)

    def ledger(self) -> Ledger:
        """What became of every event so far."""
        return self._emitter.ledger()

    def __enter__(self) -> Self:
        self._thread.start()
        self._stream.begun.wait(BEGIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._emitter.close()

    def _carry(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._stream.run(self._stop))
