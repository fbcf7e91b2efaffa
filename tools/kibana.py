"""Makes saved-objects.ndjson and rules/: `python -m tools.kibana [--check]`.

Searches are in Lucene's syntax, so that the engine itself can run them in a test. The objects keep to what Kibana 8
exports; they have not been imported into one here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KIBANA = Path(__file__).resolve().parents[1] / "k8s" / "logging" / "kibana"
VERSION = "8.8.0"
"""Of the objects' types (coreMigrationVersion): what any later Kibana migrates from."""
LOGS, AUDIT = "broker-logs", "broker-audit"
VIEWS = {LOGS: "logs-broker.otel-*", AUDIT: "logs-broker.audit.otel-*"}
NO_SUCCESS = "_exists_:outcome AND NOT outcome:ok"


@dataclass(frozen=True, slots=True)
class Search:
    """A saved search: what it finds, in which view, and the columns that it shows."""

    id: str
    title: str
    query: str
    columns: Sequence[str]
    view: str = LOGS


SEARCHES = (
    Search("errors", "Errors", "severity_number:>=17", ("event_name", "service.name", "message", "body.text")),
    Search("fatal", "Fatal", "severity_number:>=21", ("event_name", "service.name", "exception")),
    Search("redacted", "Redacted", "redacted:true", ("event_name", "service.name", "logger")),
    Search(
        "orders",
        "An order's way",
        "event_name:broker.order.*",
        ("event_name", "status", "order_id", "client_order_id", "instrument", "reason"),
    ),
    Search("refused", "Refused orders", "event_name:broker.order.refused", ("reason", "source", "order_id", "message")),
    Search("venue", "Venue errors", "event_name:broker.api.error", ("error_type", "operation", "status", "request_id")),
    Search("audit", "Audit trail", "*", ("event_name", "outcome", "secret", "generation", "request_id"), AUDIT),
    Search("audit-failures", "Audit failures", NO_SUCCESS, ("event_name", "outcome", "secret", "reason"), AUDIT),
)


@dataclass(frozen=True, slots=True)
class Chart:
    """Records over time, by the values of a field."""

    title: str
    field: str
    query: str = "*"
    view: str = LOGS


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard: charts above, searches below."""

    id: str
    title: str
    charts: Sequence[Chart]
    searches: Sequence[str]


BOARDS = (
    Board(
        "broker-what-happened",
        "Broker: what happened",
        (
            Chart("Records by event", "event_name"),
            Chart("Errors by event", "event_name", "severity_number:>=17"),
            Chart("Orders by status", "status", "event_name:broker.order.transition"),
            Chart("Refusals by reason", "reason", "event_name:broker.order.refused"),
        ),
        ("errors", "refused", "venue"),
    ),
    Board(
        "broker-audit",
        "Broker: audit",
        (Chart("Deeds", "event_name", view=AUDIT), Chart("Outcomes that were not ok", "outcome", NO_SUCCESS, AUDIT)),
        ("audit-failures", "audit"),
    ),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """More than `threshold` records that fit within `minutes`; named like the Prometheus alert on the same."""

    name: str
    query: str
    threshold: int
    minutes: int
    view: str = LOGS


RULES = (
    Rule("SecretInLogs", "redacted:true", 0, 10),
    Rule("LogFatal", "severity_number:>=21", 0, 10),
    Rule("LogErrorsHigh", "severity_number:>=17", 300, 5),
    Rule("AuditFailures", NO_SUCCESS, 5, 15, AUDIT),
)


def _object(kind: str, name: str, attributes: dict[str, Any], references: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "id": name,
        "type": kind,
        "attributes": attributes,
        "references": references,
        "coreMigrationVersion": VERSION,
    }


def _view(name: str, pattern: str) -> dict[str, Any]:
    attributes = {"name": name, "title": pattern, "timeFieldName": "@timestamp", "allowNoIndex": True}
    return _object("index-pattern", name, attributes, [])


def _source(query: str) -> str:
    lucene = {"query": query, "language": "lucene"}
    name = "kibanaSavedObjectMeta.searchSourceJSON.index"
    return json.dumps({"query": lucene, "filter": [], "indexRefName": name})


def _search(item: Search) -> dict[str, Any]:
    attributes = {
        "title": item.title,
        "columns": list(item.columns),
        "sort": [["@timestamp", "desc"]],
        "kibanaSavedObjectMeta": {"searchSourceJSON": _source(item.query)},
    }
    reference = {"id": item.view, "name": "kibanaSavedObjectMeta.searchSourceJSON.index", "type": "index-pattern"}
    return _object("search", f"broker-{item.id}", attributes, [reference])


def _lens(chart: Chart) -> dict[str, Any]:
    columns = {
        "time": {
            "label": "@timestamp",
            "dataType": "date",
            "operationType": "date_histogram",
            "sourceField": "@timestamp",
            "isBucketed": True,
            "scale": "interval",
            "params": {"interval": "auto"},
        },
        "kind": {
            "label": chart.field,
            "dataType": "string",
            "operationType": "terms",
            "sourceField": chart.field,
            "isBucketed": True,
            "scale": "ordinal",
            "params": {"size": 9, "orderBy": {"type": "column", "columnId": "count"}, "orderDirection": "desc"},
        },
        "count": {
            "label": "Records",
            "dataType": "number",
            "operationType": "count",
            "sourceField": "___records___",
            "isBucketed": False,
            "scale": "ratio",
        },
    }
    layer = {"columnOrder": ["kind", "time", "count"], "columns": columns, "incompleteColumns": {}}
    drawn = {
        "layerId": "records",
        "layerType": "data",
        "seriesType": "bar_stacked",
        "xAccessor": "time",
        "splitAccessor": "kind",
        "accessors": ["count"],
    }
    return {
        "title": chart.title,
        "visualizationType": "lnsXY",
        "references": [{"id": chart.view, "name": "indexpattern-datasource-layer-records", "type": "index-pattern"}],
        "state": {
            "query": {"query": chart.query, "language": "lucene"},
            "filters": [],
            "datasourceStates": {"formBased": {"layers": {"records": layer}}},
            "visualization": {
                "preferredSeriesType": "bar_stacked",
                "legend": {"isVisible": True, "position": "right"},
                "layers": [drawn],
            },
        },
    }


def _board(board: Board) -> dict[str, Any]:
    panels, references = [], []
    for number, chart in enumerate(board.charts):
        grid = {"x": number % 2 * 24, "y": number // 2 * 12, "w": 24, "h": 12, "i": f"chart{number}"}
        lens = _lens(chart)
        panels.append(
            {
                "type": "lens",
                "panelIndex": grid["i"],
                "gridData": grid,
                "title": chart.title,
                "embeddableConfig": {"attributes": lens},
            }
        )
        references += [item | {"name": f"{grid['i']}:{item['name']}"} for item in lens["references"]]
    top = (len(board.charts) + 1) // 2 * 12
    for number, name in enumerate(board.searches):
        grid = {"x": 0, "y": top + number * 14, "w": 48, "h": 14, "i": f"search{number}"}
        panels.append(
            {
                "type": "search",
                "panelIndex": grid["i"],
                "gridData": grid,
                "panelRefName": f"panel_{grid['i']}",
                "embeddableConfig": {},
            }
        )
        references.append({"id": f"broker-{name}", "name": f"{grid['i']}:panel_{grid['i']}", "type": "search"})
    attributes = {
        "title": board.title,
        "timeRestore": True,
        "timeFrom": "now-1h",
        "timeTo": "now",
        "panelsJSON": json.dumps(panels),
        "optionsJSON": json.dumps({"useMargins": True, "syncColors": True}),
        "kibanaSavedObjectMeta": {
            "searchSourceJSON": json.dumps({"query": {"query": "", "language": "lucene"}, "filter": []})
        },
    }
    return _object("dashboard", board.id, attributes, references)


def _rule(item: Rule) -> dict[str, Any]:
    query = {"query": {"query_string": {"query": item.query}}}
    return {
        "name": f"Broker: {item.name}",
        "tags": ["broker-sidecar"],
        "rule_type_id": ".es-query",
        "consumer": "logs",
        "schedule": {"interval": "1m"},
        "params": {
            "searchType": "esQuery",
            "index": [VIEWS[item.view]],
            "timeField": "@timestamp",
            "esQuery": json.dumps(query),
            "size": 100,
            "threshold": [item.threshold],
            "thresholdComparator": ">",
            "timeWindowSize": item.minutes,
            "timeWindowUnit": "m",
            "aggType": "count",
            "groupBy": "all",
            "excludeHitsFromPreviousRun": False,
        },
        # Paging has one way, and it is not this: see k8s/monitoring/alerts/logs.yaml.
        "actions": [],
    }


def objects() -> Iterator[dict[str, Any]]:
    """Objects to import: those that others refer to come first."""
    yield from (_view(*item) for item in VIEWS.items())
    yield from map(_search, SEARCHES)
    yield from map(_board, BOARDS)


def outputs() -> dict[Path, str]:
    """Every generated file and its text."""
    lines = "".join(json.dumps(item, sort_keys=True) + "\n" for item in objects())
    rules = {
        KIBANA / "rules" / f"broker-{item.name.lower()}.json": json.dumps(_rule(item), indent=1) + "\n"
        for item in RULES
    }
    return {KIBANA / "saved-objects.ndjson": lines, **rules}


def main(arguments: list[str]) -> int:
    """Writes the files; with --check, names those that differ and answers 1."""
    stale = [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.name} differs: run 'python -m tools.kibana'\n")
        return bool(stale)
    for path, text in outputs().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
