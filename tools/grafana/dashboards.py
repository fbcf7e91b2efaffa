"""Makes the dashboards' JSON with Grafana's foundation SDK: `python -m tools.grafana.dashboards [--check]`."""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, VariableRefresh

from tools.grafana.boards import BOARDS
from tools.grafana.panel import SOURCE, Rows

OUT = Path(__file__).resolve().parents[2] / "k8s" / "monitoring" / "dashboards"
PLACES = {
    "Logs": "https://kibana.example.internal/app/dashboards#/view/broker-what-happened",
    "Runbooks": "https://runbooks.example.internal/broker",
}
ROLLOUTS = 'changes(kube_deployment_status_observed_generation{namespace=~"$namespace",deployment="broker"}[2m]) > 0'
ROTATIONS = 'changes(sidecar_secrets_generation_published{namespace=~"$namespace",pod=~"$pod"}[2m]) > 0'


def build(uid: str, title: str, description: str, rows: Rows) -> str:
    """One dashboard as JSON: variables, annotations and links are the same on every one."""
    board = dashboard.Dashboard(title).uid(uid).description(description).tags(["broker-sidecar"])
    board = board.refresh("30s").time("now-1h", "now").timezone("browser").editable()
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    board = board.with_variable(source).with_variable(_variable("namespace", "label_values(up, namespace)"))
    pods = 'label_values(telemetry_producer_connected{namespace=~"$namespace"}, pod)'
    board = board.with_variable(_variable("pod", pods))
    board = board.annotation(_annotation("Deploys", ROLLOUTS, "blue")).annotation(
        _annotation("Rotations", ROTATIONS, "purple")
    )
    board = board.link(
        dashboard.DashboardLink("All of broker and sidecar")
        .type(DashboardLinkType.DASHBOARDS)
        .tags(["broker-sidecar"])
        .as_dropdown(as_dropdown=True)
        .keep_time(keep_time=True)
        .include_vars(include_vars=True)
    )
    for name, url in PLACES.items():
        board = board.link(
            dashboard.DashboardLink(name).type(DashboardLinkType.LINK).url(url).target_blank(target_blank=True)
        )
    # Grafana gives panels without an id one at each load, and a link to a panel needs one that stays.
    numbers = count(1)
    for name, panels in rows.items():
        board = board.with_row(dashboard.Row(name).id(next(numbers)))
        for panel in panels:
            board = board.with_panel(panel.build(next(numbers)))
    return json.dumps(json.loads(JSONEncoder(sort_keys=True).encode(board.build())), indent=1, sort_keys=True) + "\n"


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    found = dashboard.QueryVariable(name).label(name.capitalize()).query(query).datasource(SOURCE)
    found = found.multi(multi=True).include_all(include_all=True).all_value(".*")
    return found.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)


def _annotation(name: str, expr: str, colour: str) -> dashboard.AnnotationQuery:
    found = dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(enable=True).icon_color(colour)
    return found.expr(expr)


def main(arguments: list[str]) -> int:
    """Writes the files; with --check, names those that differ and answers 1."""
    texts = {OUT / f"{uid}.json": build(uid, *rest) for uid, rest in BOARDS.items()}
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"dashboards/{path.name} differs: run 'python -m tools.grafana.dashboards'\n")
        return bool(stale)
    OUT.mkdir(exist_ok=True)
    for path, text in texts.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
