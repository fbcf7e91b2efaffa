"""Declarations of the process itself: its API, queues, credentials, start and end."""

from __future__ import annotations

from broker.events import events as e
from broker.events import presets
from broker.events.orders import LATENCY_S
from producer.declare import Counter, Event, Gauge, Histogram, Log
from telemetry_contract.v1 import telemetry_pb2 as pb

DRAIN_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)

PROCESS = (
    Event(
        e.HttpRequest,
        "broker.http.request",
        labels=("method", "route", "status_class"),
        measures=("duration_s",),
        instruments=(
            Counter(
                name="broker.http.requests",
                unit="{request}",
                description="Requests that the order API answered.",
                labels=("method", "route", "status_class"),
            ),
            Histogram(
                name="broker.http.request.duration",
                unit="s",
                description="Time that the order API took to answer.",
                labels=("method", "route"),
                measure="duration_s",
                buckets=LATENCY_S,
            ),
        ),
    ),
    Event(
        e.QueueSample,
        "broker.queue.sample",
        labels=("queue",),
        measures=("depth",),
        instruments=(
            Gauge(
                name="broker.queue.depth",
                unit="{item}",
                description="Items that wait in a queue.",
                labels=("queue",),
                measure="depth",
            ),
        ),
    ),
    Event(
        e.HistorySample,
        "broker.history.sample",
        measures=("backlog",),
        instruments=(
            Gauge(
                name="broker.history.backlog",
                unit="{row}",
                description="Rows that wait for the history database.",
                measure="backlog",
            ),
        ),
    ),
    Event(
        e.CredentialSample,
        "broker.credential.sample",
        labels=("secret",),
        measures=("age_s",),
        instruments=(
            Gauge(
                name="broker.credential.age",
                unit="s",
                description="Age of a credential in use.",
                labels=("secret",),
                measure="age_s",
            ),
        ),
    ),
    Event(
        e.CredentialReload,
        "broker.credential.reload",
        labels=("secret", "result"),
        instruments=(
            Counter(
                name="broker.credential.reloads",
                unit="{reload}",
                description="Generations of secrets tried: applied or rejected.",
                labels=("result",),
                presets=presets.RELOADS,
            ),
        ),
        log=Log(pb.SEVERITY_INFO, "Generation of secrets tried"),
    ),
    Event(
        e.DrainEnded,
        "broker.drain.ended",
        labels=("result",),
        measures=("duration_s",),
        instruments=(
            Histogram(
                name="broker.drain.duration",
                unit="s",
                description="Time from the signal to the end of the drain.",
                labels=("result",),
                measure="duration_s",
                buckets=DRAIN_S,
                presets=presets.DRAINS,
            ),
        ),
        log=Log(pb.SEVERITY_INFO, "Process drained"),
    ),
    Event(
        e.Lifecycle,
        "broker.lifecycle",
        labels=("phase",),
        log=Log(pb.SEVERITY_INFO, "Process started, became ready, or ends"),
    ),
)
