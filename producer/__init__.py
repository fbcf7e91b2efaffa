"""The producer library: any program's events, on disk before `emit` returns, delivered exactly once.

    from producer import Catalogue, Counter, Label, Log, Measure, Producer, ProducerSettings

The names below are loaded on first use (PEP 562): a program that reads settings or a trace header pays for neither
gRPC nor protobuf. `producer.otel`, the front for OpenTelemetry's API, is imported by its name and needs
`opentelemetry-api`.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.declare import (
        Catalogue,
        Counter,
        DeclarationError,
        Event,
        Gauge,
        Histogram,
        Label,
        Log,
        Measure,
        UpDownCounter,
        combinations,
    )
    from producer.emitter import Emit, Emitter
    from producer.health import Condition, EmitterLedger
    from producer.producer import Producer
    from producer.settings import ProducerSettings
    from producer.stdlib_logging import LOG_EVENTS, EmittingHandler
    from producer.stream.client import TelemetryStream
    from producer.trace import current_trace, parse_traceparent

# Before gRPC is loaded. Its support of fork(2), on by default, starts its threads again in a child that nobody told to
# use it: with 1.85, under load, a quarter of the children died of SIGSEGV in their first millisecond, and each fork
# took ten times as long (tests/unit/producer/test_fork.py). A child has no use for its parent's connection.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

__all__ = [
    "LOG_EVENTS", "Catalogue", "Condition", "Counter", "DeclarationError", "Emit", "Emitter", "EmitterLedger",
    "EmittingHandler", "Event", "Gauge", "Histogram", "Label", "Log", "Measure", "Producer",
    "ProducerSettings", "TelemetryStream", "UpDownCounter", "combinations", "current_trace",
    "parse_traceparent",
]  # fmt: skip
# Each imports only modules before it, so that the first one that has a name is the lightest to import.
_MODULES = ("settings", "trace", "health", "declare", "emitter", "stdlib_logging", "stream.client", "producer")


def __getattr__(name: str) -> Any:
    """Imports the modules in turn until one has the public name; later uses find it in this package."""
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f"producer.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module 'producer' has no attribute {name!r}")
