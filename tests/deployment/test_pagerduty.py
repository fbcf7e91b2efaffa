from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

MONITORING = Path(__file__).resolve().parents[2] / "k8s" / "monitoring"
FILES = sorted((MONITORING / "pagerduty").glob("*.tf"))


def plain(value: Any) -> Any:
    """A parsed tree without the parser's quotes and marks."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items() if not str(key).startswith("__")}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.removeprefix('"').removesuffix('"') if isinstance(value, str) else value


TREES = {path.name: plain(hcl2.loads(path.read_text())) for path in FILES}


def blocks(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Address and body of each block: resources as type.name, data as data.type.name, the rest by name."""
    for tree in TREES.values():
        for block in tree.get(kind, ()):
            for first, inner in block.items():
                if kind in ("resource", "data"):
                    prefix = "data." if kind == "data" else ""
                    yield from ((f"{prefix}{first}.{name}", body) for name, body in inner.items())
                else:
                    yield first, inner


RESOURCES = dict(blocks("resource"))


def test_every_reference_is_declared() -> None:
    declared = {*RESOURCES, *dict(blocks("data")), *(f"var.{name}" for name, _ in blocks("variable"))}
    text = "\n".join(path.read_text() for path in FILES)
    used = set(re.findall(r"\b((?:data\.)?pagerduty_\w+\.\w+|var\.\w+)\b", text))
    assert used
    assert used <= declared


def test_every_service_escalates_and_ends() -> None:
    services = {name: body for name, body in RESOURCES.items() if name.startswith("pagerduty_service.")}
    assert len(services) == 2
    for body in services.values():
        assert "pagerduty_escalation_policy.team" in body["escalation_policy"]
        assert int(body["acknowledgement_timeout"]) == 1800
        assert int(body["auto_resolve_timeout"]) == 86400
        assert body["alert_creation"] == "create_alerts_and_incidents"


def test_somebody_is_asked_next_within_fifteen_minutes_and_the_round_goes_twice() -> None:
    policy = RESOURCES["pagerduty_escalation_policy.team"]
    assert policy["num_loops"] == 2
    assert [rule["escalation_delay_in_minutes"] for rule in policy["rule"]] == [5, 10, 15]
    targets = [rule["target"][0]["id"] for rule in policy["rule"]]
    assert [re.findall(r"pagerduty_\w+\.\w+", target)[0] for target in targets] == [
        "pagerduty_schedule.primary",
        "pagerduty_schedule.secondary",
        "pagerduty_user.member",
    ]


def test_schedules_hand_over_each_week_in_working_hours() -> None:
    for name in ("primary", "secondary"):
        (layer,) = RESOURCES[f"pagerduty_schedule.{name}"]["layer"]
        assert layer["rotation_turn_length_seconds"] == 7 * 24 * 3600
        assert "restriction" not in layer, "a layer with restrictions leaves hours without anybody"
    start = dict(blocks("variable"))["rotation_start"]["default"]
    assert 9 <= int(start[11:13]) <= 16


def test_every_receiver_of_pages_has_its_team_and_every_team_its_receiver() -> None:
    tree = yaml.safe_load((MONITORING / "alertmanager.yaml").read_text())
    receivers = {
        item["name"].removeprefix("pagerduty-") for item in tree["receivers"] if item["name"].startswith("pagerduty-")
    }
    example = plain(hcl2.loads((MONITORING / "pagerduty" / "teams.auto.tfvars.example").read_text()))
    rules = yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())["groups"]
    paging = {
        rule["labels"]["team"]
        for group in rules
        for rule in group["rules"]
        if rule.get("labels", {}).get("severity") == "page"
    }
    assert receivers == set(example["teams"]) == paging
    assert all(len(team["rotation"]) >= 2 for team in example["teams"].values())


def test_keys_are_marked_sensitive() -> None:
    outputs = dict(blocks("output"))
    assert len(outputs) == 2
    assert all(body["sensitive"] for body in outputs.values())


def test_files_are_formatted() -> None:
    if (terraform := shutil.which("terraform")) is None:
        pytest.skip("terraform is not on this machine: only its formatter is used")
    result = subprocess.run(
        [terraform, "fmt", "-check", str(MONITORING / "pagerduty")], capture_output=True, check=False
    )
    assert result.returncode == 0, result.stdout
