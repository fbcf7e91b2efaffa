"""`make drill NAME=…`: causes a fault on a local stack, shows its alert fire, and does what its runbook says.

Rules and thresholds are those that ship; `for` is two seconds, so that a drill takes less than a shift.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import click
import yaml

from devstack.fault import DRILLS, Scene
from devstack.process import ProcessError, start
from devstack.settings import temporary_place
from devstack.stack import Stack
from pod_runtime.run import complain, run

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "k8s" / "monitoring" / "prometheus-rules.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
FIRES_WITHIN_S = 240.0
COMMAND_S = 30.0
LABELS = {"namespace": "broker", "pod": "broker-1"}
JOBS = {"metrics": "broker/broker-sidecar", "api": "broker-api"}
"""As the cluster's Prometheus calls them: the sidecar's page, and that of the broker's own process."""
HIDDEN = {*LABELS, "__name__", "instance"}


def rules() -> dict[str, Any]:
    """The shipped rules, evaluated each second, with a `for` of two, and a market that is always open."""
    tree: dict[str, Any] = yaml.safe_load(RULES.read_text())
    for group in tree["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "2s"
            if rule.get("record") == "market:open":
                rule["expr"] = "vector(1)"
    return tree


def runbook_queries(alert: str) -> list[str]:
    """The queries that an alert's runbook tells a person to ask."""
    text = (RUNBOOKS / f"{alert}.md").read_text()
    return [
        line for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL) for line in block.strip().splitlines()
    ]


def runbook_commands(alert: str) -> list[list[str]]:
    """The words of each command `broker …` or `sidecar …` of an alert's runbook, in its order."""
    text = (RUNBOOKS / f"{alert}.md").read_text()
    return [shlex.split(command) for command in re.findall(r"`((?:broker|sidecar) [a-z][^`]*)`", text)]


async def _prometheus(stack: Stack) -> str:
    binary = shutil.which("prometheus")
    if binary is None:
        raise ProcessError("a drill needs prometheus on this machine: make test-deps")
    place = stack.place.state
    targets = [
        {"targets": [stack.addresses[name].removeprefix("http://")], "labels": {**LABELS, "job": job}}
        for name, job in JOBS.items()
    ]
    tree = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": [str(place / "rules.yml")],
        "scrape_configs": [{"job_name": "stack", "static_configs": targets}],
    }
    (place / "rules.yml").write_text(yaml.safe_dump(rules()))
    (place / "prometheus.yml").write_text(yaml.safe_dump(tree))
    address = f"127.0.0.1:{stack.port('prometheus')}"
    options = [f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/tsdb"]
    command = [binary, *options, f"--web.listen-address={address}"]
    stack.children["prometheus"] = await start("prometheus", command, directory=place, environ={})
    return f"http://{address}"


async def drill(scene: Scene, name: str) -> None:
    """Causes the fault and waits for the alert.

    Raises:
        ProcessError: it does not fire in time, or a query or a command of its runbook is refused.
    """
    what, fault = DRILLS[name]
    scene.stack.say(f"fault      {what}")
    began = time.monotonic()
    await fault(scene)
    await _fires(scene, name, began)
    for query in runbook_queries(name):
        scene.stack.say(f"runbook    {query}")
        # The largest first: a counter of something else that never happened says nothing here.
        for item in sorted(await scene.query(query), key=lambda item: -float(item["value"][1]))[:6]:
            labels = ", ".join(f"{key}={value}" for key, value in item["metric"].items() if key not in HIDDEN)
            scene.stack.say(f"             {float(item['value'][1]):g}  {labels}")
    for words in runbook_commands(name):
        await _runs(scene, words)
    scene.stack.say(f"next       {RUNBOOKS.relative_to(ROOT) / name}.md")


async def _runs(scene: Scene, words: list[str]) -> None:
    program, *rest = words
    key = scene.stack.place.state / "drill-key"
    key.touch(0o600)
    key.write_text(scene.stack.api_key)
    where = {
        "broker": ["--url", scene.stack.addresses["api"], "--key-file", str(key)],
        "sidecar": ["--console", scene.stack.addresses["console"]],
    }[program]
    scene.stack.say(f"runbook    {shlex.join(words)}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", program, *rest, *where),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(COMMAND_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise ProcessError(f"{shlex.join(words)} did not end within {COMMAND_S:.0f} s") from None
    for line in said.decode(errors="replace").splitlines()[:12]:
        scene.stack.say(f"             {line}")
    # A look that finds a fault ends with 1: it did what it is for.
    if process.returncode not in {0, 1}:
        raise ProcessError(f"{shlex.join(words)} ended with {process.returncode}")


async def _fires(scene: Scene, name: str, began: float) -> None:
    state = ""
    while state != "firing":
        if time.monotonic() - began > FIRES_WITHIN_S:
            raise ProcessError(f"{name} did not fire within {FIRES_WITHIN_S:.0f} s")
        await asyncio.sleep(0.5)
        found = {item["metric"]["alertstate"] for item in await scene.query(f'ALERTS{{alertname="{name}"}}')}
        now = "firing" if "firing" in found else "pending" if found else ""
        if now != state and now:
            scene.stack.say(f"{now:<10} {name} after {time.monotonic() - began:.0f} s")
        state = now


async def _session(stack: Stack, name: str, stop: asyncio.Event) -> int:
    try:
        await stack.start()
        address = await _prometheus(stack)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
            scene = Scene(stack, address, session)
            await _scraped(scene)
            acting = asyncio.ensure_future(drill(scene, name))
            leaving = asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait({acting, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if acting.done():
                    acting.result()
            finally:
                acting.cancel()
                leaving.cancel()
                await scene.go_on()
    finally:
        await stack.stop()
        if (child := stack.children.get("prometheus")) is not None:
            await child.stop(5.0)
    return 0


async def _scraped(scene: Scene) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if await scene.query('broker_connection_status{channel="rest"} == 1'):
                    return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.3)


@click.command()
@click.argument("name", required=False)
def main(name: str | None) -> None:
    """Runs the drill NAME; without one, lists them."""
    if name is None or name not in DRILLS:
        for known, (what, _) in DRILLS.items():
            click.echo(f"  {known:<22} {what}")
        raise SystemExit(64 if name else 0)
    try:
        with temporary_place() as place:
            stack = Stack(place, lambda text: click.echo(f"  {text}"), preferred={})
            run(lambda stop: _session(stack, name, stop))
    except ProcessError as error:
        complain(str(error))
        raise SystemExit(os.EX_SOFTWARE) from None


if __name__ == "__main__":
    main()
