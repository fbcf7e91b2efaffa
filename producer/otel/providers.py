"""Installation of the front: OpenTelemetry's providers and a handler of `logging` emit events.

    from producer import otel

    otel.install("bakery")

stands in place of the lines that set the SDK's providers. Instruments are declared when code creates and uses them.
Needs `opentelemetry-api` and no SDK.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from opentelemetry import metrics
from opentelemetry._logs import get_logger_provider, set_logger_provider

from producer.declare import Catalogue
from producer.fork import watch_forks
from producer.health import EmitterLedger
from producer.otel.logs import EventLoggerProvider
from producer.otel.metrics import EventMeterProvider
from producer.otel.observed_sums import ObservedSums
from producer.producer import Producer
from producer.settings import ProducerSettings
from producer.stdlib_logging import LOG_EVENTS, EmittingHandler

OBSERVE_S = 5.0
SOCKET = Path("/run/telemetry/telemetry.sock")
SPOOL = Path("/var/lib/telemetry/spool")


class ProvidersSetError(RuntimeError):
    """Other providers are set already, and OpenTelemetry's API lets nobody replace them."""


class OtelFront:
    """The installed front. `close`, leaving a `with` block, or the end of the program delivers what is left."""

    def __init__(self, producer: Producer, meters: EventMeterProvider, observe_s: float) -> None:
        self._producer, self._meters = producer, meters
        self._handler = EmittingHandler(producer.emit, emit_at=producer.emit_at)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._observe, args=(observe_s,), name="observe", daemon=True)
        watch_forks(self)

    def forked(self) -> None:
        """Leaves observing and delivering to the parent: `close` does nothing (`producer.fork`)."""
        self._ended = threading.Event()
        self._ended.set()

    def open(self, level: int) -> None:
        """Begins to deliver events, to emit log lines of at least `level`, and to observe."""
        self._producer.__enter__()
        self._handler.setLevel(level)
        logging.getLogger().addHandler(self._handler)
        self._thread.start()
        atexit.register(self.close)

    def _observe(self, interval_s: float) -> None:
        while not self._ended.wait(interval_s):
            self._meters.observe()

    def ledger(self) -> EmitterLedger:
        """Fate of every event so far."""
        return self._producer.ledger()

    def close(self) -> None:
        """Asks observable instruments a last time and delivers, for at most `drain_s`; a second call does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        # Observed after its thread has ended, or two threads would take the change of a sum twice.
        self._thread.join()
        self._meters.observe()
        logging.getLogger().removeHandler(self._handler)
        self._producer.__exit__()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def install(
    producer_id: str,
    *,
    socket: Path = SOCKET,
    spool_directory: Path = SPOOL,
    resource: Mapping[str, str] | None = None,
    buckets: Mapping[str, Sequence[float]] | None = None,
    level: int = logging.NOTSET,
    observe_s: float = OBSERVE_S,
) -> OtelFront:
    """Sets OpenTelemetry's meter and logger providers and a handler of the root logger; call it once.

    Call it in the processes that emit: in a child of fork(2), events of the parent's front are refused and counted.

    `producer_id` is the same over restarts: counters belong to it. The resource is that of `OTEL_RESOURCE_ATTRIBUTES`
    and `OTEL_SERVICE_NAME`, under `resource`. `buckets` bound histograms by name. Raises ProvidersSetError if other
    providers are set: take their line out; ValueError if `producer_id` is no such name.
    """
    settings = ProducerSettings(socket=socket, spool_directory=spool_directory, producer_id=producer_id)
    about = {"service.name": producer_id, **resource_of(os.environ), **(resource or {})}
    producer = Producer(settings, Catalogue(LOG_EVENTS), resource=about)
    sums = ObservedSums(spool_directory / f"{producer_id}.observed")
    meters = EventMeterProvider(producer.emitter, buckets=buckets, sums=sums)
    loggers = EventLoggerProvider(producer.emitter)
    metrics.set_meter_provider(meters)
    set_logger_provider(loggers)
    # The setters only log a warning when a provider is set already.
    if metrics.get_meter_provider() is not meters or get_logger_provider() is not loggers:
        raise ProvidersSetError("OpenTelemetry's providers are set already: take out the line that sets them")
    front = OtelFront(producer, meters, observe_s)
    front.open(level)
    return front


def resource_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The resource in OpenTelemetry's variables (`key=value`, comma-separated, percent-encoded)."""
    pairs = (item.partition("=") for item in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    found = {unquote(key.strip()): unquote(value.strip()) for key, mark, value in pairs if mark and key.strip()}
    name = environ.get("OTEL_SERVICE_NAME")
    return {**found, "service.name": name} if name else found
