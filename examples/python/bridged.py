# ruff: noqa: INP001 - a script, in no package
"""Code that speaks OpenTelemetry and `logging`: `python examples/python/bridged.py SOCKET SPOOL_DIRECTORY`."""

import logging
import sys
from pathlib import Path

from opentelemetry.metrics import Observation, get_meter

from producer import otel

meter = get_meter("bakery")
loaves = meter.create_counter("bakery.loaves", "{loaf}", "Loaves baked.")
meter.create_observable_gauge("bakery.oven.temperature", [lambda _: [Observation(230, {"oven": "left"})]], "Cel")

otel.install("bakery", socket=Path(sys.argv[1]), spool_directory=Path(sys.argv[2]))  # the one line

for _ in range(100):
    loaves.add(1, {"kind": "rye"})
logging.getLogger("bakery").warning("out of rye", extra={"left_kg": 0})
