"""The dead man's switch: hears Alertmanager's Watchdog, passes the beat on, and pages when it is silent.

It must not share the fate of what it watches: run it in another cluster, or let FORWARD_URL_FILE hold the address of
a service outside that expects a beat (without the file none is passed on). LISTEN (:8080), SILENCE_S (300),
ROUTING_KEY_FILE (PagerDuty's service "broker (alerting path)"), PAGERDUTY_URL. Files are read again for each request,
so that they can be rotated.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
from aiohttp import web

DEDUP_KEY = "broker-dead-mans-switch"
"""Constant: a relay that restarted opens no second incident, and resolves the first."""
TICK_S = 1.0
DEADLINE_S = 10.0
Action = Literal["trigger", "resolve"]
log = logging.getLogger("dead-mans-switch")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings from the environment."""

    host: str
    port: int
    silence_s: float
    routing_key: Path
    pagerduty: str
    forward: Path | None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """The settings of an environment.

        Raises:
            ValueError: a variable is missing or no number; the text names it.
        """
        host, _, port = environ.get("LISTEN", ":8080").rpartition(":")
        if not environ.get("ROUTING_KEY_FILE"):
            raise ValueError("ROUTING_KEY_FILE is not set: the file of PagerDuty's integration key")
        try:
            numbers = int(port), float(environ.get("SILENCE_S", "300"))
        except ValueError:
            raise ValueError("LISTEN must be host:port, SILENCE_S a number of seconds") from None
        forward = environ.get("FORWARD_URL_FILE")
        pagerduty = environ.get("PAGERDUTY_URL", "https://events.pagerduty.com/v2/enqueue")
        return cls(host, *numbers, Path(environ["ROUTING_KEY_FILE"]), pagerduty, Path(forward) if forward else None)


def decide(silent_s: float, limit_s: float, *, heard: bool, opened: bool | None) -> Action | None:
    """Messages to send: `opened` is true if an incident is open, None where a restart made us forget."""
    if silent_s > limit_s:
        return None if opened else "trigger"
    return "resolve" if heard and opened is not False else None


class Relay:
    """Remembers the last beat; `serve` runs until it is cancelled."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._last = time.monotonic()
        self._heard = False
        self._opened: bool | None = None

    async def beat(self, _: web.Request) -> web.Response:
        """Alertmanager's webhook; 502 where the beat could not be passed on, so that it is sent again."""
        self._last, self._heard = time.monotonic(), True
        if self._settings.forward is None or not self._settings.forward.exists():
            return web.Response(text="heard")
        passed = await self._send("pass on", self._settings.forward.read_text().strip(), {"status": "alive"})
        return web.Response(text="passed on" if passed else "heard, not passed on", status=200 if passed else 502)

    async def watch(self) -> None:
        """Opens an incident in silence and resolves it after; what fails is tried again at the next tick."""
        while True:
            silent_s = time.monotonic() - self._last
            action = decide(silent_s, self._settings.silence_s, heard=self._heard, opened=self._opened)
            if action is not None and await self._send(action, self._settings.pagerduty, self._event(action)):
                self._opened = action == "trigger"
            await asyncio.sleep(TICK_S)

    def _event(self, action: Action) -> dict[str, Any]:
        payload = {
            "summary": f"No Watchdog for {self._settings.silence_s:.0f} s: no other alert would come either",
            "source": "dead-mans-switch",
            "severity": "critical",
            "class": "Watchdog",
            "component": "alerting path",
            "custom_details": {"runbook": "https://runbooks.example.internal/broker/Watchdog"},
        }
        key = self._settings.routing_key.read_text().strip()
        return {"routing_key": key, "event_action": action, "dedup_key": DEDUP_KEY, "payload": payload}

    async def _send(self, what: str, url: str, body: Mapping[str, Any]) -> bool:
        try:
            async with self._session.post(url, json=body) as answer:
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            # Neither the address nor the key: both are secrets.
            log.warning(json.dumps({"event": "not_sent", "what": what, "error": type(error).__name__}))
            return False
        log.info(json.dumps({"event": "sent", "what": what}))
        return True


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as session:
        relay = Relay(settings, session)
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/beat", relay.beat)
        app.router.add_get("/healthz", _healthy)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(relay.watch())
                await stop.wait()
                watching.cancel()
        finally:
            await runner.cleanup()


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok")


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
    try:
        asyncio.run(serve(Settings.of(os.environ)))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(78)
