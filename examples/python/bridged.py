# ruff: noqa: INP001 - a script, in no package
"""Code that speaks OpenTelemetry and `logging`: `python examples/python/bridged.py SOCKET SPOOL_DIRECTORY`."""

import logging
import sys
from pathlib import Path

from opentelemetry.metrics import get_meter, set_meter_provider

from broker.telemetry.bridge import BridgeMeterProvider, metric_events
from broker.telemetry.declare import Catalogue, Counter
from broker.telemetry.log_bridge import LOG_EVENTS, BridgeHandler
from broker.telemetry.producer import Producer
from broker.telemetry.settings import TelemetrySettings

socket, spool = map(Path, sys.argv[1:])
settings = TelemetrySettings(socket=socket, spool_directory=spool, producer_id="bakery", venue="")
events = metric_events([Counter(name="bakery.loaves", description="Loaves baked.", unit="{loaf}", labels=("kind",))])
with Producer(settings, Catalogue((*events, *LOG_EVENTS))) as producer:
    set_meter_provider(BridgeMeterProvider(producer.emit, events))
    logging.getLogger("bakery").addHandler(BridgeHandler(producer.emit))

    loaves = get_meter("bakery").create_counter("bakery.loaves")
    for _ in range(100):
        loaves.add(1, {"kind": "rye"})
    logging.getLogger("bakery").warning("out of rye", extra={"left_kg": 0})
