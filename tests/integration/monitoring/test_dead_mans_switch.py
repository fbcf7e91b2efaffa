from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.integration.monitoring.alerting import Inbox, alert, fakes, running_alertmanager
from tests.ports import free_port
from tools.dead_mans_switch import relay


@pytest.mark.parametrize(
    ("silent_s", "heard", "opened", "action"),
    [
        (10, True, False, None),
        (10, True, None, "resolve"),  # a restart forgot whether there is an incident
        (10, True, True, "resolve"),
        (10, False, None, None),  # it has just started
        (301, False, None, "trigger"),
        (301, True, False, "trigger"),
        (301, True, True, None),
    ],
)
def test_silence_opens_one_incident_and_a_beat_resolves_it(
    silent_s: float, action: str | None, *, heard: bool, opened: bool | None
) -> None:
    assert relay.decide(silent_s, 300, heard=heard, opened=opened) == action


def test_a_relay_without_a_key_says_which_variable_is_missing() -> None:
    with pytest.raises(ValueError, match="ROUTING_KEY_FILE is not set"):
        relay.Settings.of({})


@asynccontextmanager
async def running(place: Path) -> AsyncIterator[tuple[str, Inbox]]:
    """The relay as a process; PagerDuty and the service outside are fakes."""
    inbox = Inbox()
    runner = web.AppRunner(fakes(inbox))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    outside = "http://{}:{}".format(*runner.addresses[0])
    (place / "routing-key").write_text("key-of-the-path\n")
    (place / "forward-url").write_text(f"{outside}/beat\n")
    port = free_port()
    environ = {
        "LISTEN": f"127.0.0.1:{port}",
        "SILENCE_S": "2",
        "ROUTING_KEY_FILE": str(place / "routing-key"),
        "FORWARD_URL_FILE": str(place / "forward-url"),
        "PAGERDUTY_URL": f"{outside}/pagerduty",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tools.dead_mans_switch.relay", env={**os.environ, **environ}
    )
    try:
        yield f"http://127.0.0.1:{port}", inbox
    finally:
        process.terminate()
        assert await process.wait() == 0
        await runner.cleanup()


@pytest.mark.real
async def test_a_watchdog_that_stops_pages_and_one_that_beats_again_resolves(tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    async with running(tmp_path / "relay") as (url, inbox), running_alertmanager(tmp_path, relay=url) as server:
        await server.send(alert("Watchdog", severity="none", team="platform"))
        await inbox.wait(lambda found: found.beats == [{"status": "alive"}])
        await inbox.wait(lambda found: len(found.events("trigger")) == 1)
        async with aiohttp.ClientSession() as session, session.post(f"{url}/beat", json={}) as answer:
            assert answer.status == 200
        await inbox.wait(lambda found: bool(found.pagerduty) and found.pagerduty[-1]["event_action"] == "resolve")
    (event,) = inbox.events("trigger")
    assert event["routing_key"] == "key-of-the-path"
    assert event["payload"]["component"] == "alerting path"
    assert {item["dedup_key"] for item in inbox.pagerduty} == {"broker-dead-mans-switch"}
