from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import yaml

from devstack.flow import Flow
from devstack.status import settle
from tests.e2e.stack_fixture import running_stack

pytestmark = [pytest.mark.real, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
OURS = re.compile(r"\b((?:broker|telemetry|sidecar)_[a-z0-9_]+)\b")
LABELS = {"broker_sidecar"}


def used() -> Iterator[tuple[str, str]]:
    """Every metric of ours that a rule, a dashboard or a runbook names, and where."""
    monitoring = ROOT / "k8s" / "monitoring"
    for group in yaml.safe_load((monitoring / "prometheus-rules.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield from ((name, rule.get("alert") or rule["record"]) for name in OURS.findall(rule["expr"]))
    for path in (monitoring / "dashboards").glob("*.json"):
        for expr in re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', path.read_text()):
            yield from ((name, path.stem) for name in OURS.findall(json.loads(f'"{expr}"')))
    for path in (ROOT / "docs" / "runbooks").glob("*.md"):
        for block in re.findall(r"```promql\n(.*?)```", path.read_text(), re.DOTALL):
            yield from ((name, path.stem) for name in OURS.findall(block))


async def test_every_metric_that_a_query_names_is_on_the_page() -> None:
    async with running_stack() as stack, aiohttp.ClientSession() as session:
        await Flow(stack.addresses["api"], stack.api_key, random.Random(3)).send(40)
        await settle(stack, session, deadline_s=15)
        async with session.get(f"{stack.addresses['metrics']}/metrics") as answer:
            page = await answer.text()
    present = set(re.findall(r"^([a-z0-9_]+)(?:\{| )", page, re.MULTILINE))
    absent = sorted({name for name, _ in used()} - present - LABELS)
    assert not absent, " ".join(absent)
