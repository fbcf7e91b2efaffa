"""Events of the process itself: its API, queues, credentials, start and end."""

from __future__ import annotations

from typing import NamedTuple

from broker.events.orders import latency
from producer.declare import Catalogue, Counter, Gauge, Histogram, Label, Log, Measure, combinations
from telemetry_contract.v1 import telemetry_pb2 as pb

DRAIN_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
REFUSALS = (
    *("connections", "address", "rate", "address-rate", "evicted", "handshake", "descriptors"),
    *("idle", "late", "head", "body", "malformed", "queue"),
    *("no-key", "unknown-key", "too-many-wrong-keys"),
)
"""Reasons: a connection that was not taken or not kept, what came on it, the key."""

PROCESS = Catalogue()


@PROCESS.event("broker.http.request")
@Counter("broker.http.requests", "{request}", "Requests that the order API answered.")
@latency("broker.http.request.duration", "Time that the order API took to answer.", labels=("method", "route"))
class HttpRequest(NamedTuple):
    """The order API answered a request."""

    method: Label[str]
    route: Label[str]
    """The template, never the URL."""
    status_class: Label[str]
    duration_s: Measure[float]


@PROCESS.event("broker.http.refusals")
@Counter(
    "broker.http.refusals",
    "{refusal}",
    "Connections and requests that the order API refused before it looked at what they ask for.",
    presets=combinations(REFUSALS),
    measure="refusals",
)
class HttpRefusals(NamedTuple):
    """The order API refused connections or requests within the last second."""

    reason: Label[str]
    refusals: Measure[int]


@PROCESS.event("broker.queue.sample")
@Gauge("broker.queue.depth", "{item}", "Items that wait in a queue.")
class QueueSample(NamedTuple):
    """Depth of a queue."""

    queue: Label[str]
    depth: Measure[int]


@PROCESS.event("broker.history.sample")
@Gauge("broker.history.backlog", "{row}", "Rows that wait for the history database.")
class HistorySample(NamedTuple):
    """Rows that wait for the history database."""

    backlog: Measure[int]


@PROCESS.event("broker.credential.sample")
@Gauge("broker.credential.age", "s", "Age of a credential in use.")
class CredentialSample(NamedTuple):
    """Age of a credential in use."""

    secret: Label[str]
    age_s: Measure[float]


@PROCESS.event("broker.credential.reload", log=Log(pb.SEVERITY_INFO, "Generation of secrets tried"))
@Counter(
    "broker.credential.reloads",
    "{reload}",
    "Generations of secrets tried: applied or rejected.",
    labels=("result",),
    presets=combinations(("applied", "rejected")),
)
class CredentialReload(NamedTuple):
    """A new generation of secrets was tried: applied or rejected."""

    secret: Label[str]
    result: Label[str]
    generation: int
    reason: str | None


@PROCESS.event("broker.drain.ended", log=Log(pb.SEVERITY_INFO, "Process drained"))
@Histogram(
    "broker.drain.duration",
    "s",
    "Time from the signal to the end of the drain.",
    buckets=DRAIN_S,
    presets=combinations(("complete", "deadline")),
)
class DrainEnded(NamedTuple):
    """The process drained."""

    result: Label[str]
    duration_s: Measure[float]


@PROCESS.event("broker.lifecycle", log=Log(pb.SEVERITY_INFO, "Process started, became ready, or ends"))
class Lifecycle(NamedTuple):
    """The process started, became ready, or ends."""

    phase: Label[str]
    detail: str | None
