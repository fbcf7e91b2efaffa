"""The state of the sidecar as one JSON document: what page, commands and tests read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.config import PanelSettings
from sidecar.console.doctor.doctor import diagnose
from sidecar.console.status.time_series import History, panel_quantiles, panel_rates, rates
from sidecar.export.log_queue import NOT_EXPORTED
from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.health.conditions import PROBES, HealthCondition, verdict
from sidecar.health.probes import condition_json, time_text
from sidecar.ingest.producers import ProducerLedger, ProducerStatus
from sidecar.metrics.ledger import EventLedger, LogLedger, SidecarLedger

JsonObject = dict[str, Any]
RATE_OVER_S = 5.0
LATENCY_WINDOW = 10
"""Samples that a point of a latency curve looks back over: few orders a second make a jumpy quantile otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which process speaks."""

    version: str
    pid: int
    started_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a document is made from, at one moment."""

    now_ns: int
    identity: Identity
    conditions: Sequence[HealthCondition]
    producers: Sequence[ProducerStatus]
    ledger: SidecarLedger
    export: ExportStatus
    secrets: JsonObject
    journal: JsonObject
    history: History
    panels: Sequence[PanelSettings]
    interval_s: float
    """Between two samples of the history."""


def status_document(parts: Parts) -> JsonObject:
    """The document of `/api/status`, what the doctor makes of it included."""
    made = _document(parts)
    return made | {"findings": [finding.json() for finding in diagnose(made)]}


def _document(parts: Parts) -> JsonObject:
    return {
        "version": parts.identity.version,
        "pid": parts.identity.pid,
        "time": time_text(parts.now_ns),
        "started": time_text(parts.identity.started_ns),
        "interval_s": parts.interval_s,
        "health": health_json(parts.conditions, parts.producers),
        "flow": flow_json(parts),
        "producers": [producer_json(item, parts.now_ns) for item in parts.producers],
        "ledger": ledger_json(parts.ledger),
        "export": export_json(parts.export),
        "secrets": parts.secrets,
        "journal": parts.journal,
        "panels": panels_json(parts.panels, parts.history),
    }


def health_json(conditions: Sequence[HealthCondition], producers: Sequence[ProducerStatus] = ()) -> JsonObject:
    """Whether all is well, and if not why and since when: what a probe asks for goes before what is advice."""
    why = sorted(_causes(conditions, producers), key=lambda item: (item["advisory"], item["since"]))
    verdicts = {probe: verdict(probe, conditions).ok for probe in PROBES}
    state = "down" if any(not item["advisory"] for item in why) else "degraded" if why else "healthy"
    well_since = time_text(max((item.since_ns for item in conditions), default=0))
    return {
        "state": state,
        "since": why[0]["since"] if why else well_since,
        "why": why,
        "probes": {probe: {"ok": ok, "conditions": list(PROBES[probe])} for probe, ok in verdicts.items()},
        "conditions": [condition_json(item) for item in conditions],
    }


def _causes(conditions: Sequence[HealthCondition], producers: Sequence[ProducerStatus]) -> list[JsonObject]:
    """What fails. A producer's own conditions say more than that it is not ready, and its advice is told too."""
    unready = any(item.name == "ProducerReady" and not item.ok for item in conditions)
    theirs = [
        {
            **_plain(item),
            "name": f"{producer.producer_id} {item.name}",
            "since": time_text(item.since_ns),
            "advisory": item.advisory or not unready,
        }
        for producer in producers
        if producer.connected
        for item in producer.conditions
        if not item.ok
    ]
    told = any(not item["advisory"] for item in theirs)
    ours = [item for item in conditions if not item.ok and not (told and _is_said_by_producer(item))]
    return [*map(condition_json, ours), *theirs]


def _is_said_by_producer(item: HealthCondition) -> bool:
    return item.name == "ProducerReady" and item.reason not in {"NotAlive", "NotConnected"}


def flow_json(parts: Parts) -> JsonObject:
    """The two arrows of the event path: speed now, what waits, what was lost and why."""
    held = sum(item.ledger.held for item in parts.producers if item.ledger)
    dropped = _drops(parts.producers)
    logs = parts.ledger.logs
    lost = _lost(logs)
    return {
        "in": {
            "rate": _rate(parts, "received"),
            "backlog": held,
            "lost": sum(dropped.values()) + sum(parts.ledger.events.rejected.values()),
            "lost_by": {**dropped, **parts.ledger.events.rejected},
            "curve": _curve(parts.history, "received"),
        },
        "out": {
            "rate": _rate(parts, "exported"),
            "backlog": logs.queued,
            "lost": sum(lost.values()),
            "lost_by": lost,
            "curve": _curve(parts.history, "exported"),
        },
    }


def _lost(logs: LogLedger) -> dict[str, int]:
    """Records that are gone although somebody wants them: not those that no collector is there for."""
    gone = {**_by_reason(logs), **logs.rejected}
    return {reason: count for reason, count in gone.items() if reason != NOT_EXPORTED}


def _rate(parts: Parts, name: str) -> float:
    return round(parts.history.rate(name, RATE_OVER_S), 2)


def _curve(history: History, name: str) -> list[float]:
    return [round(item, 2) for item in rates(history.samples, name)]


def _drops(producers: Sequence[ProducerStatus]) -> dict[str, int]:
    found: dict[str, int] = {}
    for producer in producers:
        for _, reason, count in producer.ledger.dropped if producer.ledger else ():
            found[reason] = found.get(reason, 0) + count
    return found


def _by_reason(logs: LogLedger) -> dict[str, int]:
    found: dict[str, int] = {}
    for (reason, _), count in logs.dropped.items():
        found[reason] = found.get(reason, 0) + count
    return found


def producer_json(status: ProducerStatus, now_ns: int) -> JsonObject:
    """A producer as it last spoke."""
    return {
        "id": status.producer_id,
        "session": status.session_id,
        "session_started": _time(status.session_start_ns),
        "connected": status.connected,
        "changed": _time(status.changed_ns),
        "heartbeat_age_s": _age(status.last_heartbeat_ns, now_ns),
        "last_event_age_s": _age(status.last_event_ns, now_ns),
        "goodbye": status.goodbye,
        "conditions": [_plain(item) | {"since": _time(item.since_ns)} for item in status.conditions],
        "ledger": _producer_ledger(status.ledger) if status.ledger else None,
        "applied_generation": status.applied_generation,
        "refusal": _plain(status.refusal) if status.refusal else None,
        "durable_through": status.durable_through,
        "recovery_streams": status.recovery_streams,
    }


def _producer_ledger(ledger: ProducerLedger) -> JsonObject:
    dropped = [{"event": event, "reason": reason, "count": count} for event, reason, count in ledger.dropped]
    gone = ledger.acknowledged + ledger.held + sum(item[2] for item in ledger.dropped)
    return _plain(ledger) | {"dropped": dropped, "balanced": ledger.emitted == gone}


def ledger_json(ledger: SidecarLedger) -> JsonObject:
    """The sidecar's half of the ledger."""
    return {
        **_event_ledger(ledger.events),
        "logs": {
            "accepted": ledger.logs.accepted,
            "exported": ledger.logs.exported,
            "queued": ledger.logs.queued,
            "rejected": dict(ledger.logs.rejected),
            "dropped": _by_reason(ledger.logs),
            "balanced": ledger.logs.balanced,
        },
        "producers": {name: _event_ledger(item) for name, item in ledger.producers.items()},
    }


def _event_ledger(ledger: EventLedger) -> JsonObject:
    return {
        "received": ledger.received,
        "counted": ledger.counted,
        "duplicate": ledger.duplicate,
        "rejected": dict(ledger.rejected),
        "balanced": ledger.balanced,
    }


def export_json(status: ExportStatus) -> JsonObject:
    """How the export goes, by signal."""
    return {
        "endpoint": status.endpoint,
        "logs": _signal(status.logs),
        "metrics": _signal(status.metrics),
    }


def _signal(status: SignalStatus) -> JsonObject:
    return {
        "enabled": status.enabled,
        "exported": status.exported,
        "rejected": dict(status.rejected),
        "requests": status.requests,
        "retries": status.retries,
        "in_flight": status.in_flight,
        "last_success": _time(status.last_success_ns),
        "failing_since": _time(status.failing_since_ns),
        "last_error": status.last_error,
        "last_error_at": _time(status.last_error_ns),
    }


def panels_json(panels: Sequence[PanelSettings], history: History) -> list[JsonObject]:
    """The figures of the producers' instruments, with their curves."""
    samples = history.samples
    return [
        {"title": panel.title, "instrument": panel.instrument, "show": panel.show, **_panel(panel, place, history)}
        for place, panel in enumerate(panels)
        if samples
    ]


def _panel(panel: PanelSettings, place: int, history: History) -> JsonObject:
    samples = history.samples
    if panel.show == "latency":
        return {
            "p50": panel_quantiles(samples, place, 0.5, LATENCY_WINDOW),
            "p99": panel_quantiles(samples, place, 0.99, LATENCY_WINDOW),
            "count": sum(samples[-1].panels[place].buckets),
        }
    totals = dict(sorted(samples[-1].panels[place].totals.items(), key=lambda item: -item[1]))
    if panel.show == "rate":
        return {"curve": [round(item, 3) for item in panel_rates(samples, place)], "total": sum(totals.values())}
    return {"totals": totals}


def _plain(value: Any) -> JsonObject:
    return dataclasses.asdict(value)


def _time(time_ns: int) -> str | None:
    return time_text(time_ns) if time_ns else None


def _age(time_ns: int, now_ns: int) -> float | None:
    return round(max(0, now_ns - time_ns) / 1e9, 2) if time_ns else None


def event_totals(ledger: SidecarLedger) -> Mapping[str, float]:
    """The running counts that the curves are made from."""
    return {
        "received": ledger.events.received,
        "exported": ledger.logs.exported,
        "dropped": sum(ledger.logs.dropped.values()),
        "rejected": sum(ledger.events.rejected.values()) + sum(ledger.logs.rejected.values()),
    }
