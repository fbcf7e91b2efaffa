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


async def run(directory: Path, url: str, *arguments: str, number: int = 1) -> tuple[int, str]:
    """The script with a stand-in for the server's command: what is tested here is the alert."""
    command = directory / "cli"
    accessor = "accessor" if number == 1 else f"accessor-{number}"
    granted = GRANTED.replace('"accessor"', f'"{accessor}"')
    command.write_text(f'#!/bin/sh\necho "$@" >>{directory / "calls"}\n[ "$2" = revoke ] || echo \'{granted}\'\n')
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
    assert event["payload"]["custom_details"]["description"] == "The reason given is venue token lost"
    assert event["routing_key"] == "key-of-pagerduty-platform"


async def test_each_grant_pages_even_with_the_reason_of_another(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        for number in (1, 2):
            code, _ = await run(tmp_path, server.url, "grant", "--reason", "lost", number=number)
            assert code == 0
        await server.inbox.wait(lambda inbox: len({item["dedup_key"] for item in inbox.pagerduty}) == 2)
    assert "accessor" not in json.dumps(server.inbox.pagerduty)


async def test_a_grant_that_nobody_can_be_told_of_hands_out_nothing_and_is_revoked(tmp_path: Path) -> None:
    code, out = await run(tmp_path, "http://127.0.0.1:9", "grant", "--reason", "x")
    assert (code, out) == (69, "")
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "token revoke -accessor accessor"


async def test_a_grant_without_an_alertmanager_is_refused_unless_that_is_asked_for(tmp_path: Path) -> None:
    assert await run(tmp_path, "", "grant", "--reason", "x") == (64, "")
    assert not (tmp_path / "calls").exists()
    code, out = await run(tmp_path, "", "grant", "--unalarmed", "--reason", "x")
    assert (code, json.loads(out)["wrapping_token"]) == (0, "wrapping")


async def test_a_use_in_the_audit_log_pages_once_for_each_token(tmp_path: Path) -> None:
    about = {"policies": ["break-glass"], "metadata": {"reason": "lost"}}
    used, second = ({"type": "request", "time": "t", "auth": {**about, "accessor": f"hmac-{n}"}} for n in (1, 2))
    other = {"type": "request", "time": "t", "auth": {"policies": ["broker-sidecar"]}}
    requests = [{**item, "request": {"operation": "read", "path": "secret/x"}} for item in (used, other, used, second)]
    (tmp_path / "audit.log").write_text("".join(json.dumps(item) + "\n" for item in requests))
    async with running_alertmanager(tmp_path) as server:
        code, _ = await run(tmp_path, server.url, "report", str(tmp_path / "audit.log"))
        await server.inbox.wait(lambda inbox: len(inbox.pagerduty) == 2)
    assert code == 0
    assert len({event["dedup_key"] for event in server.inbox.pagerduty}) == 2
    described = {event["payload"]["custom_details"]["description"] for event in server.inbox.pagerduty}
    assert described == {"The reason given is lost"}
