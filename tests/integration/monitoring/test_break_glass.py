from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.integration.monitoring.alerting import running_alertmanager

pytestmark = pytest.mark.real
SCRIPT = Path(__file__).resolve().parents[3] / "k8s" / "vault" / "break-glass.sh"
GRANTED = '{"wrap_info": {"token": "wrapping", "wrapped_accessor": "accessor", "ttl": 600}}'


async def run(directory: Path, url: str, *arguments: str) -> tuple[int, str]:
    """The script with a stand-in for the server's command: what is tested here is the alert."""
    command = directory / "cli"
    command.write_text(f"#!/bin/sh\necho '{GRANTED}'\n")
    command.chmod(0o755)
    child = await asyncio.create_subprocess_exec(
        str(SCRIPT),
        *arguments,
        env={**os.environ, "CLI": str(command), "ALERTMANAGER_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await child.communicate()
    return child.returncode or 0, out.decode()


async def test_a_grant_pages_with_its_reason_and_then_hands_out_the_token(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        code, out = await run(tmp_path, server.url, "grant", "--reason", "venue token lost")
        await server.inbox.wait(lambda inbox: bool(inbox.pagerduty))
    assert (code, json.loads(out)["wrapping_token"]) == (0, "wrapping")
    (event,) = server.inbox.pagerduty
    assert event["payload"]["class"] == "BreakGlassUsed"
    assert event["payload"]["custom_details"]["description"] == "Reason given: venue token lost"
    assert event["routing_key"] == "key-of-pagerduty-platform"


async def test_a_grant_that_nobody_can_be_told_of_hands_out_nothing(tmp_path: Path) -> None:
    code, out = await run(tmp_path, "http://127.0.0.1:9", "grant", "--reason", "x")
    assert (code != 0, out) == (True, "")


async def test_a_use_in_the_audit_log_pages_once_for_each_reason(tmp_path: Path) -> None:
    used = {"type": "request", "time": "t", "auth": {"policies": ["break-glass"], "metadata": {"reason": "lost"}}}
    other = {"type": "request", "time": "t", "auth": {"policies": ["broker-sidecar"]}}
    requests = [{**item, "request": {"operation": "read", "path": "secret/x"}} for item in (used, other, used)]
    (tmp_path / "audit.log").write_text("".join(json.dumps(item) + "\n" for item in requests))
    async with running_alertmanager(tmp_path) as server:
        code, _ = await run(tmp_path, server.url, "report", str(tmp_path / "audit.log"))
        await server.inbox.wait(lambda inbox: bool(inbox.pagerduty))
    assert code == 0
    assert [event["payload"]["custom_details"]["description"] for event in server.inbox.pagerduty] == [
        "Reason given: lost"
    ]
