"""Faults of the events' way: journal, export, what was refused or lost."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.console.doctor.finding import Check, Document, Finding
from sidecar.export.log_queue import NOT_EXPORTED

BACKLOG_LARGE = 10_000
JOURNAL_SHARE = 0.8


def _collector(status: Document) -> Iterator[Finding]:
    for signal in ("logs", "metrics"):
        export = status["export"][signal]
        if export["failing_since"]:
            refused = export["last_error"].split(":")[0] in {"unauthenticated", "permission_denied", "headers_file"}
            yield Finding(
                fault="collector_refuses" if refused else "collector_away",
                evidence=f"{signal} to {status['export']['endpoint']} fail since {export['failing_since']}: "
                f"{export['last_error']}",
                next="check otlp.headers_file and the client certificate"
                if refused
                else "see whether the collector runs and is reachable; nothing is lost while the journal has room",
                explains=("export_behind",),
            )
            return


def _export_off(status: Document) -> Iterator[Finding]:
    if not status["export"]["endpoint"]:
        yield Finding(
            fault="export_off",
            evidence=f"otlp.endpoint is empty; {status['ledger']['logs']['accepted']} log records are not kept",
            next="set otlp.endpoint or OTEL_EXPORTER_OTLP_ENDPOINT, or scrape /metrics only",
            explains=("export_behind",),
        )


def _export_behind(status: Document) -> Iterator[Finding]:
    queued = status["ledger"]["logs"]["queued"]
    if queued > BACKLOG_LARGE:
        yield Finding(
            fault="export_behind",
            evidence=f"{queued} log records wait; {status['flow']['out']['rate']:.0f}/s leave, "
            f"{status['flow']['in']['rate']:.0f}/s come",
            next="the collector is slow: raise otlp.requests_in_flight, or look at the collector's queue",
        )


def _export_rejected(status: Document) -> Iterator[Finding]:
    rejected = {**status["ledger"]["logs"]["rejected"], **status["export"]["metrics"]["rejected"]}
    if rejected:
        yield Finding(
            fault="records_rejected",
            evidence=f"the collector refused for good: {_counts(rejected)}",
            next="read the kept records in the directory `rejected` beside the journal, and the collector's log",
        )


def _logs_dropped(status: Document) -> Iterator[Finding]:
    dropped = {reason: n for reason, n in status["ledger"]["logs"]["dropped"].items() if reason != NOT_EXPORTED}
    if dropped:
        yield Finding(
            fault="records_dropped",
            evidence=f"the journal was full: {_counts(dropped)}",
            next="mend the export first; then raise telemetry.journal_bytes",
        )


def _journal_refuses(status: Document) -> Iterator[Finding]:
    if error := status["journal"].get("error"):
        yield Finding(
            fault="journal_refuses",
            evidence=error,
            next="df -h and mount: the volume of telemetry.journal_directory is full or read-only; it recovers alone",
        )


def _checkpoint(status: Document) -> Iterator[Finding]:
    if error := status["journal"].get("checkpoint_error"):
        yield Finding(
            fault="checkpoint_failed",
            evidence=error,
            next="df -h: the checkpoint needs room; until then a restart replays more",
        )


def _journal_full(status: Document) -> Iterator[Finding]:
    used, limit = status["journal"].get("bytes_used", 0), status["journal"].get("bytes_limit", 0)
    if limit and used > JOURNAL_SHARE * limit:
        yield Finding(
            fault="journal_filling",
            evidence=f"{used} of {limit} bytes; when full the oldest log records go",
            next="mend the export, or raise telemetry.journal_bytes",
        )


def _journal_damaged(status: Document) -> Iterator[Finding]:
    journal = status["journal"]
    if journal.get("damaged_segments") or journal.get("unreadable_records"):
        yield Finding(
            fault="journal_damaged",
            evidence=f"{journal['damaged_segments']} segments were set aside, {journal['damaged_bytes']} bytes; "
            f"{journal['unreadable_records']} records say nothing",
            next="keep the *.damaged files for a look; check the volume (dmesg, fsck)",
        )


def _events_rejected(status: Document) -> Iterator[Finding]:
    if rejected := status["ledger"]["rejected"]:
        yield Finding(
            fault="events_rejected",
            evidence=f"events that break the contract: {_counts(rejected)}",
            next="read the producer's log: each rejection is told with its rule; are both sides of one release?",
        )


def _producer_drops(status: Document) -> Iterator[Finding]:
    for producer in status["producers"]:
        if producer["ledger"] and producer["ledger"]["dropped"]:
            drops = [f"{item['event']} {item['count']} ({item['reason']})" for item in producer["ledger"]["dropped"]]
            yield Finding(
                fault="producer_drops",
                evidence=f"{producer['id']} dropped: {', '.join(drops)}",
                next="its spool was full or its volume fails: raise its spool, see why events were not acknowledged",
            )


def _ledger(status: Document) -> Iterator[Finding]:
    ledger = status["ledger"]
    if not ledger["balanced"] or not ledger["logs"]["balanced"]:
        yield Finding(
            fault="ledger_unbalanced",
            evidence=f"received {ledger['received']}, counted {ledger['counted']}; logs accepted "
            f"{ledger['logs']['accepted']}, exported {ledger['logs']['exported']}, queued {ledger['logs']['queued']}",
            next="take the diagnostics bundle and report it: this is a bug",
        )


def _counts(table: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(table.items()))


EVENTS: tuple[Check, ...] = (
    _journal_refuses,
    _checkpoint,
    _journal_full,
    _journal_damaged,
    _logs_dropped,
    _collector,
    _export_off,
    _export_behind,
    _export_rejected,
    _events_rejected,
    _producer_drops,
    _ledger,
)
