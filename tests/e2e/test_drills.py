from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import promql_parser
import pytest

from devstack.drill import rules, runbook_queries
from devstack.fault import DRILLS
from tests.require import require_binary

QUICKEST = ("TradingHalted", "VenueUnauthorized", "SidecarDown")
"""All of them take five minutes: DRILLS=all."""
ROOT = Path(__file__).resolve().parents[2]


def test_a_drill_exists_for_ten_pages() -> None:
    severities = {
        rule["alert"]: rule["labels"]["severity"]
        for group in rules()["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert set(DRILLS) <= set(severities)
    assert sum(severities[name] == "page" for name in DRILLS) >= 10


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill_ends_with_queries_of_its_runbook(name: str) -> None:
    assert runbook_queries(name)
    for query in runbook_queries(name):
        promql_parser.parse(query)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", DRILLS if os.environ.get("DRILLS") == "all" else QUICKEST)
async def test_a_drill_fires_its_alert(name: str) -> None:
    require_binary("prometheus")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devstack.drill", name), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert f"firing     {name} after" in said
    assert f"next       docs/runbooks/{name}.md" in said


def test_an_unknown_drill_lists_the_known() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "devstack.drill", "Nothing"], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 64
    assert "VenueDisconnected" in result.stdout
