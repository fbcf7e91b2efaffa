from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from broker.__main__ import main as broker
from devstack.drill import runbook_commands
from sidecar.__main__ import main as sidecar

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ["Meaning", "Impact", "See it", "Do now", "Verify", "Escalate"]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "k8s" / "monitoring" / "prometheus-rules.yaml").read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
PAGES = sorted(path for path in RUNBOOKS.glob("*.md") if path.name != "README.md")


def queries(path: Path) -> list[str]:
    (block,) = re.findall(r"```promql\n(.*?)```", path.read_text(), re.DOTALL)
    return str(block).strip().splitlines()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_its_runbook(rule: dict[str, Any]) -> None:
    page = rule["annotations"]["runbook_url"].rpartition("/")[2]
    assert (RUNBOOKS / f"{page}.md").exists()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_runbook_has_every_section_and_queries_that_parse(path: Path) -> None:
    assert re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE) == SECTIONS
    assert queries(path)
    for query in queries(path):
        promql_parser.parse(query)


def test_no_runbook_is_without_an_alert() -> None:
    used = {rule["annotations"]["runbook_url"].rpartition("/")[2] for rule in RULES}
    assert {path.stem for path in PAGES} == used


def test_the_list_of_runbooks_has_every_alert_with_its_severity_and_team() -> None:
    listed = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \| (\w+) \|$", (RUNBOOKS / "README.md").read_text(), re.MULTILINE
    )
    wanted = {
        (rule["alert"], rule["alert"], rule["labels"]["severity"], rule["labels"]["team"])
        for rule in RULES
        if "slo" not in rule["labels"]
    }
    assert sorted(listed) == sorted(wanted)


COMMANDS = sorted({tuple(words) for path in PAGES for words in runbook_commands(path.stem)})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_of_a_runbook_has_every_option_that_it_needs(words: tuple[str, ...], tmp_path: Path) -> None:
    program, name, *rest = words
    known = {"broker": broker.commands, "sidecar": sidecar.commands}[program]
    (tmp_path / "key").touch()
    key = ["--key-file", str(tmp_path / "key")] if program == "broker" else []
    known[name].make_context(name, [*rest, *key])
