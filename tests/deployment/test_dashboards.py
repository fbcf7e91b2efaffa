from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest

ROOT = Path(__file__).resolve().parents[2]
BOARDS = sorted((ROOT / "k8s" / "monitoring" / "dashboards").glob("*.json"))
KINDS = {"timeseries", "stat", "row", "heatmap", "table", "text"}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for item in board["panels"]:
        found.append(item)
        found.extend(item.get("panels", ()))
    return found


CASES = [
    pytest.param(panel, id=f"{path.stem}:{panel['title']}")
    for path in BOARDS
    for panel in panels(json.loads(path.read_text()))
    if panel["type"] != "row"
]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_board_has_a_stable_uid_variables_annotations_and_links(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    assert [item["name"] for item in board["templating"]["list"]] == ["datasource", "namespace", "pod"]
    assert {item["name"] for item in board["annotations"]["list"]} >= {"Deploys", "Rotations"}
    assert [link["title"] for link in board["links"]][1:] == ["Logs", "Runbooks"]
    assert {panel["type"] for panel in panels(board)} <= KINDS


@pytest.mark.parametrize("panel", CASES)
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("panel", CASES)
def test_every_query_of_a_panel_is_promql(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        promql_parser.parse(
            re.sub(r"\$__rate_interval", "5m", target["expr"]).replace("$namespace", "a").replace("$pod", "b")
        )


@pytest.mark.parametrize("panel", CASES)
def test_no_two_queries_of_a_panel_have_the_same_legend(panel: dict[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"] if "or " not in target["expr"]]
    assert panel["title"] == "Restarts in an hour" or len(set(legends)) == len(legends)


def test_what_may_be_negative_is_not_cut_off_at_zero() -> None:
    signed = {
        panel["title"]
        for path in BOARDS
        for panel in panels(json.loads(path.read_text()))
        if panel["type"] == "timeseries" and "min" not in panel["fieldConfig"]["defaults"]
    }
    assert signed == {"Slippage", "Positions"}


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_panel_and_row_has_an_id_of_its_own(path: Path) -> None:
    numbers = [panel["id"] for panel in panels(json.loads(path.read_text()))]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("panel", CASES)
def test_the_queries_of_a_panel_are_a_b_and_so_on(panel: dict[str, Any]) -> None:
    names = [target["refId"] for target in panel.get("targets", ())]
    assert names == list("ABCDEFGHIJ"[: len(names)])
