"""Builder of the status document: translates the reports of the sidecar's parts into its sections. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, TypeVar

import msgspec

from sidecar.console import document as doc
from sidecar.console.doctor import diagnose
from sidecar.console.settings import PanelSettings
from sidecar.console.status.time_series import (
    StatusInputs,
    TimeSeries,
    moment_text,
    panel_quantiles,
    panel_rates,
    rates,
)
from sidecar.export.log_queue import NOT_EXPORTED
from sidecar.export.status import SignalStatus
from sidecar.health.conditions import PROBES, HealthCondition, SidecarCondition, verdict
from sidecar.health.probes import time_text
from sidecar.ingest.producers import ProducerCondition, ProducerLedger, ProducerStatus
from sidecar.metrics.ledger import LogLedger, SidecarLedger
from sidecar.secrets.acknowledge import Rejection
from sidecar.secrets.status import LastError, SecretsStatus, SecretStatus, TokenStatus

# Shorter, and a batch more or less in one sample makes the figure jump; longer, and it lags behind the curve.
RATE_OVER_S = 5.0
# Samples over which a point of a latency curve looks back: with few orders a second a quantile jumps otherwise.
LATENCY_WINDOW = 10

S = TypeVar("S", bound=doc.Section)

INNER_SECTIONS: Mapping[type, type[doc.Section]] = {
    ProducerCondition: doc.ProducerConditionSection,
    SignalStatus: doc.SignalSection,
    TokenStatus: doc.TokenSection,
    SecretStatus: doc.SecretSection,
    LastError: doc.ErrorSection,
    Rejection: doc.RejectionSection,
}
"""Sections of the reports that lie within another one."""


def status_document(inputs: StatusInputs) -> doc.StatusDocument:
    """Build the document, with the findings of the doctor in it."""
    document = doc.StatusDocument(
        version=inputs.identity.version,
        pid=inputs.identity.pid,
        time=time_text(inputs.now_ns),
        started=time_text(inputs.identity.started_ns),
        interval_s=inputs.interval_s,
        health=health_section(inputs.conditions, inputs.producers),
        flow=_flow(inputs),
        producers=[_producer(item, inputs.now_ns) for item in inputs.producers],
        ledger=ledger_section(inputs.ledger),
        export=_section(doc.ExportSection, inputs.export),
        secrets=_secrets(inputs.secrets, inputs.actions) if inputs.secrets else doc.NO_SECRETS,
        journal=inputs.journal or doc.CLOSED_JOURNAL,
        panels=_panels(inputs.panels, inputs.series),
    )
    return msgspec.structs.replace(document, findings=[finding.json() for finding in diagnose(document)])


def _section(kind: type[S], report: object, **computed: Any) -> S:
    """Make a section from `computed` fields, and the others from the attributes of the same names."""
    # Sections repeat most fields of the parts' own reports. A field that a part renames fails here at the first
    # document, in every test of this module; only `computed` fields need a line each.
    read = {name: _read(report, name) for name in kind.__struct_fields__ if name not in computed}
    return kind(**read, **computed)


def _read(report: object, name: str) -> Any:
    # Reports give times as nanoseconds, 0 for never, in attributes that end in `_ns`.
    if not hasattr(report, name):
        return _time(getattr(report, f"{name.removesuffix('_at')}_ns"))
    return _told(getattr(report, name))


def _told(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, tuple):
        return [_told(item) for item in value]
    return _section(INNER_SECTIONS[type(value)], value) if type(value) in INNER_SECTIONS else value


def health_section(
    conditions: Sequence[HealthCondition], producers: Sequence[ProducerStatus] = ()
) -> doc.HealthSection:
    """Judge the whole; conditions that a probe asks for go before advisory ones, and older before newer."""
    # The first cause decides the sentence at the top: what fails a probe, and of that the oldest, for it came first.
    why = sorted(_causes(conditions, producers), key=lambda item: (item.advisory, item.since or ""))
    well_since = time_text(max((item.since_ns for item in conditions), default=0))
    return doc.HealthSection(
        state="down" if any(not item.advisory for item in why) else "degraded" if why else "healthy",
        since=(why[0].since or "") if why else well_since,
        why=why,
        probes={probe: {"ok": verdict(probe, conditions).ok, "conditions": asked} for probe, asked in PROBES.items()},
        conditions=[_section(doc.ConditionSection, item) for item in conditions],
    )


def _causes(
    conditions: Sequence[HealthCondition], producers: Sequence[ProducerStatus]
) -> Iterator[doc.ConditionSection]:
    """Yield what fails: a producer's own conditions instead of ours that only sums them up, and its advice."""
    said = [(item.producer_id, each) for item in producers if item.connected for each in item.conditions]
    failing = [(producer_id, item) for producer_id, item in said if not item.ok]
    unready = any(item.name == SidecarCondition.PRODUCER_READY and not item.ok for item in conditions)
    # "ProducerReady" only repeats the producer's own reason. Both together would read as two faults.
    explained = unready and any(not item.advisory for _, item in failing)
    for ours in conditions:
        sums_up = ours.name == SidecarCondition.PRODUCER_READY and ours.reason not in {"NotAlive", "NotConnected"}
        if not ours.ok and not (explained and sums_up):
            yield _section(doc.ConditionSection, ours)
    for producer_id, item in failing:
        # A producer that the probes do not report on can fail without making the pod unready: then it is advice.
        name, advisory = f"{producer_id} {item.name}", item.advisory or not unready
        since = time_text(item.since_ns)
        yield _section(doc.ProducerConditionSection, item, name=name, since=since, advisory=advisory)


def _flow(inputs: StatusInputs) -> doc.FlowSection:
    ledgers = [item.ledger for item in inputs.producers if item.ledger]
    held = sum(ledger.held for ledger in ledgers)
    drops: Counter[str] = Counter()
    for _, reason, count in chain.from_iterable(ledger.dropped for ledger in ledgers):
        drops[reason] += count
    logs = inputs.ledger.logs
    gone = {**_by_reason(logs), **logs.rejected}
    # Records that no collector is configured for are not lost: nobody wants them.
    lost = {reason: count for reason, count in gone.items() if reason != NOT_EXPORTED}
    return doc.FlowSection(
        in_=_side(inputs.series, "received", held, {**drops, **inputs.ledger.events.rejected}),
        out=_side(inputs.series, "exported", logs.queued, lost),
    )


def _side(series: TimeSeries, total: str, waiting: int, lost_by: Mapping[str, int]) -> doc.FlowSide:
    return doc.FlowSide(
        rate=round(series.rate(total, RATE_OVER_S), 2),
        backlog=waiting,
        lost=sum(lost_by.values()),
        lost_by=lost_by,
        curve=[round(item, 2) for item in rates(series.samples, total)],
    )


def _by_reason(logs: LogLedger) -> Counter[str]:
    found: Counter[str] = Counter()
    for (reason, _), count in logs.dropped.items():
        found[reason] += count
    return found


def _producer(status: ProducerStatus, now_ns: int) -> doc.ProducerSection:
    heard, event = _age(status.last_heartbeat_ns, now_ns), _age(status.last_event_ns, now_ns)
    ledger = _producer_ledger(status.ledger) if status.ledger else None
    return _section(doc.ProducerSection, status, heartbeat_age_s=heard, last_event_age_s=event, ledger=ledger)


def _producer_ledger(ledger: ProducerLedger) -> doc.ProducerLedgerSection:
    drops = [doc.DroppedEvents(event=event, reason=reason, count=count) for event, reason, count in ledger.dropped]
    balanced = ledger.emitted == ledger.acknowledged + ledger.held + sum(item.count for item in drops)
    return _section(doc.ProducerLedgerSection, ledger, dropped=drops, balanced=balanced)


def ledger_object(ledger: SidecarLedger) -> doc.JsonObject:
    """Translate the ledger for a log record."""
    return dict(msgspec.to_builtins(ledger_section(ledger)))


def ledger_section(ledger: SidecarLedger) -> doc.LedgerSection:
    """Translate the sidecar's half of the ledger."""
    producers = {name: _section(doc.EventLedgerSection, item) for name, item in ledger.producers.items()}
    logs = _section(doc.LogLedgerSection, ledger.logs, dropped=_by_reason(ledger.logs))
    return _section(doc.LedgerSection, ledger.events, logs=logs, producers=producers)


def _secrets(status: SecretsStatus, actions: Sequence[doc.JsonObject]) -> doc.SecretsSection:
    counts = sorted(status.requests.items())
    requests = [{"operation": operation, "outcome": outcome, "count": count} for (operation, outcome), count in counts]
    return _section(
        doc.SecretsSection,
        status,
        configured=True,
        generation=status.generation_published,
        acknowledged=status.generation_acknowledged,
        token_expires_in_s=status.token.expires_in_s,
        requests=requests,
        deeds=list(actions),
    )


def _panels(panels: Sequence[PanelSettings], series: TimeSeries) -> list[doc.JsonObject]:
    """Build the panels with their curves; none before the first sample."""
    return [
        {"title": panel.title, "instrument": panel.instrument, "show": panel.show, **_panel(panel, place, series)}
        for place, panel in enumerate(panels)
        if series.samples
    ]


def _panel(panel: PanelSettings, place: int, series: TimeSeries) -> doc.JsonObject:
    samples = series.samples
    if panel.show == "latency":
        return {
            "p50": panel_quantiles(samples, place, 0.5, LATENCY_WINDOW),
            "p99": panel_quantiles(samples, place, 0.99, LATENCY_WINDOW),
            "count": sum(samples[-1].panels[place].buckets),
        }
    totals = dict(sorted(samples[-1].panels[place].totals.items(), key=lambda item: -item[1]))
    if panel.show == "rate":
        return {"curve": [round(item, 3) for item in panel_rates(samples, place)], "total": sum(totals.values())}
    # "states" and "value" show the totals as they are.
    return {"totals": totals}


def _time(time_ns: int) -> str | None:
    return time_text(time_ns) if time_ns else None


def _age(time_ns: int, now_ns: int) -> float | None:
    # Never negative: the wall clock may have been set back since.
    return round(max(0, now_ns - time_ns) / 1e9, 2) if time_ns else None
