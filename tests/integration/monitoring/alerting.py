"""A real Alertmanager with the shipped configuration, and fakes of PagerDuty and Slack that keep what they get."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from tests.ports import free_port
from tests.require import require_binary

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "k8s" / "monitoring"
DEADLINE_S = 20.0


@dataclass
class Inbox:
    """Notifications that arrived, by service."""

    pagerduty: list[dict[str, Any]] = field(default_factory=list)
    slack: list[dict[str, Any]] = field(default_factory=list)
    beats: list[dict[str, Any]] = field(default_factory=list)

    async def wait(self, fits: Callable[[Inbox], bool], *, deadline_s: float = DEADLINE_S) -> None:
        async with asyncio.timeout(deadline_s):
            while not fits(self):
                await asyncio.sleep(0.05)

    def events(self, action: str) -> list[dict[str, Any]]:
        return [item for item in self.pagerduty if item["event_action"] == action]


@dataclass
class Alertmanager:
    """A running one."""

    url: str
    inbox: Inbox
    session: aiohttp.ClientSession

    async def send(self, *alerts: dict[str, Any]) -> None:
        async with self.session.post(f"{self.url}/api/v2/alerts", json=list(alerts)) as answer:
            assert answer.status == 200, await answer.text()


def alert(name: str, *, resolved: bool = False, **labels: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "labels": {"alertname": name, "namespace": "broker", "severity": "page", "team": "trading", **labels},
        "annotations": {
            "summary": f"{name} happened",
            "description": "What it means",
            "runbook_url": f"https://runbooks.example.internal/{name}",
            "dashboard_url": "https://grafana.example.internal/d/orders",
        },
        # As Prometheus sends it: the moment it began to fire. An alert older than `group_wait` is flushed at once
        # (dispatch.go, aggrGroup.insert), before the inhibitor's own task may have seen the cause.
        "startsAt": now.isoformat(),
        "endsAt": (now if resolved else now + timedelta(minutes=5)).isoformat(),
    }


def configuration(port: int, directory: Path, *, at_work: bool, relay: str = "", quick: bool = True) -> Path:
    """The shipped file with the fakes' addresses, quick timers if wanted, and working hours that are now or never."""
    text = (SHIPPED / "alertmanager.yaml").read_text()
    text = text.replace("/etc/alertmanager/secrets", str(directory)).replace(
        "/etc/alertmanager/templates", str(SHIPPED)
    )
    tree = yaml.safe_load(text)
    tree["global"]["pagerduty_url"] = f"http://127.0.0.1:{port}/pagerduty"
    routes = [tree["route"], *tree["route"]["routes"]]
    for route in routes if quick else ():
        route |= {key: "1s" for key in ("group_wait", "group_interval") if key in route}
    for receiver in tree["receivers"]:
        for webhook in receiver.get("webhook_configs", ()):
            webhook["url"] = f"{relay or f'http://127.0.0.1:{port}'}/beat"
    days = ["sunday:saturday"] if at_work else [(datetime.now(UTC) + timedelta(days=3)).strftime("%A").lower()]
    tree["time_intervals"][0]["time_intervals"] = [{"weekdays": days}]
    for name in ("pagerduty-trading", "pagerduty-platform"):
        (directory / name).write_text(f"key-of-{name}")
    (directory / "slack-url").write_text(f"http://127.0.0.1:{port}/slack")
    path = directory / "alertmanager.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@asynccontextmanager
async def running_alertmanager(
    directory: Path, *, at_work: bool = True, relay: str = "", quick: bool = True
) -> AsyncIterator[Alertmanager]:
    """Starts the fakes and the server; ends both."""
    binary = require_binary("prometheus-alertmanager", "/usr/bin/prometheus-alertmanager")
    inbox = Inbox()
    runner = web.AppRunner(fakes(inbox))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fakes_port = runner.addresses[0][1]
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        binary,
        f"--config.file={configuration(fakes_port, directory, at_work=at_work, relay=relay, quick=quick)}",
        f"--storage.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.external-url=https://alertmanager.example.internal",
        "--cluster.listen-address=",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as session:
            await _wait_ready(session, f"http://127.0.0.1:{port}")
            yield Alertmanager(f"http://127.0.0.1:{port}", inbox, session)
    finally:
        process.terminate()
        await process.wait()
        await runner.cleanup()
        shutil.rmtree(directory / "data", ignore_errors=True)


def fakes(inbox: Inbox) -> web.Application:
    def keep(place: list[dict[str, Any]], status: int, body: str) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            place.append(await request.json())
            return web.Response(status=status, text=body)

        return handle

    app = web.Application()
    app.router.add_post("/pagerduty", keep(inbox.pagerduty, 202, '{"status":"success"}'))
    app.router.add_post("/slack", keep(inbox.slack, 200, "ok"))
    app.router.add_post("/beat", keep(inbox.beats, 200, "ok"))
    return app


async def _wait_ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                # The external URL's path is the prefix of every page; ours has none.
                async with session.get(f"{url}/-/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
