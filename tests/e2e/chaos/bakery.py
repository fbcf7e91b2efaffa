"""Another program on the telemetry socket: `bakery.py SOCKET SPOOL_DIRECTORY PRODUCER_ID` emits until it is ended."""

import signal
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from producer import Catalogue, Counter, Label, Producer, ProducerSettings

CATALOGUE = Catalogue()


@CATALOGUE.event("bakery.loaf.baked")
@Counter("bakery.loaves", "{loaf}", "Loaves baked.")
class LoafBaked(NamedTuple):
    """A loaf is done."""

    kind: Label[str]


ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
settings = ProducerSettings(socket=Path(sys.argv[1]), spool_directory=Path(sys.argv[2]), producer_id=sys.argv[3])
with Producer(settings, CATALOGUE, resource={"service.name": "bakery"}) as producer:
    while not ended.wait(0.01):
        producer.emit(LoafBaked("rye"))
