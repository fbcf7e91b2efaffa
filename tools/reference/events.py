"""Writes `docs/telemetry.md` from the declarations: `python -m tools.reference.events [--check]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from broker.events import CATALOGUE
from producer.declare import Catalogue, Event, MetricInstrument
from telemetry_contract.v1 import telemetry_pb2 as pb

PLACE = Path("docs/telemetry.md")
KINDS = {
    pb.INSTRUMENT_KIND_COUNTER: "counter",
    pb.INSTRUMENT_KIND_UP_DOWN_COUNTER: "up-down counter",
    pb.INSTRUMENT_KIND_GAUGE: "gauge",
    pb.INSTRUMENT_KIND_HISTOGRAM: "histogram",
}
SEVERITIES = {
    pb.SEVERITY_DEBUG: "debug",
    pb.SEVERITY_INFO: "info",
    pb.SEVERITY_WARN: "warn",
    pb.SEVERITY_ERROR: "error",
    pb.SEVERITY_FATAL: "fatal",
}
ROLES = {pb.FIELD_ROLE_LABEL: "label", pb.FIELD_ROLE_MEASURE: "measure", pb.FIELD_ROLE_ATTRIBUTE: "attribute"}
HEAD = """# Telemetry of the broker

Made from the declarations in `broker/events/` by `python -m tools.reference.events`.

Every metric also has the label `broker`, the venue's name (setting `telemetry.venue`). On `/metrics` dots become
underscores, the unit and `_total` are appended, and the label `producer` follows. Every log record has the attributes
`log.record.uid` and `elasticsearch.document_id`, which stay the same when it is delivered again; the trace of the
event, where it has one, is the record's trace.

What the spool has no room for is dropped and counted by event and reason. A quarter of the room
(`telemetry.reserve_ratio`) is kept for the events that are marked *reserved*.
"""


def document(catalogue: Catalogue) -> str:
    """The page, as Markdown."""
    return "\n".join((HEAD, *_metrics(catalogue), "", *_records(catalogue), "", *_events(catalogue), ""))


def _metrics(catalogue: Catalogue) -> Iterator[str]:
    yield "## Metrics\n"
    yield "| metric | on /metrics | kind | unit | labels | what it says |"
    yield "|---|---|---|---|---|---|"
    rows = {item.name: _metric(item) for event in catalogue.events for item in event.instruments}
    yield from (rows[name] for name in sorted(rows))
    yield "\nBuckets of the histograms:\n"
    bounds = {item.name: item.buckets for event in catalogue.events for item in event.instruments if item.buckets}
    yield from (f"- `{name}`: {', '.join(f'{bound:g}' for bound in bounds[name])}" for name in sorted(bounds))


def _metric(item: MetricInstrument) -> str:
    labels = ", ".join(f"`{name}`" for name in (*item.labels, *item.constant))
    only = "".join(f" Only where `{name}` is `{value}`." for name, value in item.only_when.items())
    cells = (f"`{item.name}`", f"`{exposed(item)}`", KINDS[item.kind], item.unit, labels, item.description + only)
    return "| " + " | ".join(cells) + " |"


def exposed(item: MetricInstrument) -> str:
    """The metric's name on /metrics."""
    name = item.name.replace(".", "_")
    if item.unit == "s" and not name.endswith("_seconds"):
        name += "_seconds"
    return name + ("_total" if item.kind == pb.INSTRUMENT_KIND_COUNTER else "")


def _records(catalogue: Catalogue) -> Iterator[str]:
    yield "## Log records\n"
    yield "| event_name | severity | body | attributes |"
    yield "|---|---|---|---|"
    for event in sorted(catalogue.events, key=lambda event: event.name):
        if event.log is not None:
            attributes = ", ".join(f"`{column.name}`" for column in event.columns)
            yield f"| `{event.name}` | {SEVERITIES[event.log.severity]} | {event.log.body} | {attributes} |"


def _events(catalogue: Catalogue) -> Iterator[str]:
    yield "## Events\n"
    for event in sorted(catalogue.events, key=lambda event: event.name):
        yield from _event(event)


def _event(event: Event) -> Iterator[str]:
    marks = ", ".join(mark for mark, holds in (("log", event.log is not None), ("reserved", event.reserved)) if holds)
    yield f"### `{event.name}`\n"
    yield f"{event.doc}" + (f" ({marks})" if marks else "") + "\n"
    for column in event.columns:
        yield f"- `{column.name}`: {column.words}, {ROLES[column.role]}"
    yield ""


def main(arguments: list[str]) -> int:
    """Writes the page, or with `--check` says whether it is as the declarations are."""
    text = document(CATALOGUE)
    if arguments == ["--check"]:
        same = PLACE.is_file() and PLACE.read_text(encoding="utf-8") == text
        if not same:
            sys.stderr.write(f"{PLACE} differs from the declarations: run python -m tools.reference.events\n")
        return 0 if same else 1
    PLACE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
