"""Parts of the CPU of `broker_cpu_per_event`: `python -m bench.emit_parts`.

Microseconds of one thread for each order event, the best of several rounds: the call of `emit`, reading rows back
from the spool, and making the columns of a batch from them. What the whole process takes beyond their sum is gRPC,
the event loop's turns, the spool's files, and memory that is cold by the time it is read.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench.emit import EVENTS, ROUNDS, event
from broker.config import BrokerTelemetrySettings
from broker.events import CATALOGUE
from producer.emitter import Emitter
from producer.stream.columns import encode_batch, event_schemas

BATCH_EVENTS = 500


def best_us(work: Callable[[], object]) -> float:
    """The least CPU that `work` on all events took, for each event."""
    found = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        work()
        found.append(time.thread_time() - started)
    return round(min(found) / EVENTS * 1e6, 2)


def parts() -> dict[str, float]:
    """The three parts."""
    events = [event(number) for number in range(EVENTS)]
    with tempfile.TemporaryDirectory() as place:
        emitter = Emitter(BrokerTelemetrySettings(spool_directory=Path(place)), catalogue=CATALOGUE)
        spool, queue = emitter.spool, emitter.spool.queue
        known, coerced = event_schemas(queue.meta.defines), Counter[tuple[str, str]]()

        def emitted() -> None:
            queue.acknowledge(queue.last)
            spool.maintain(time.monotonic())
            for item in events:
                emitter.emit(item)

        def read() -> None:
            first = queue.first
            for after in range(first - 1, first - 1 + EVENTS, BATCH_EVENTS):
                queue.after(after, BATCH_EVENTS)

        found = {"emit": best_us(emitted), "rows": best_us(read)}
        rows = queue.after(queue.first - 1, BATCH_EVENTS).rows
        batches = range(0, EVENTS, BATCH_EVENTS)
        found["columns"] = best_us(lambda: [encode_batch(1, rows, known, coerced) for _ in batches])
        emitter.close()
    return found


if __name__ == "__main__":
    print(json.dumps(parts()))
