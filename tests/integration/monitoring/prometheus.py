"""A real Prometheus that scrapes what a test runs, with the shipped rules on quick timers."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.ports import free_port
from tests.require import require_binary

MONITORING = Path(__file__).resolve().parents[3] / "k8s" / "monitoring"
SHIPPED: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())
DEADLINE_S = 60.0
POD = {"namespace": "broker", "pod": "broker-1", "job": "broker/broker-sidecar", "rollouts_pod_template_hash": "abc"}
"""Labels that discovery by the PodMonitor adds to every series; its job is `<namespace>/<name>`."""


@dataclass
class Prometheus:
    """A running one."""

    url: str
    session: aiohttp.ClientSession

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query.

        Raises:
            AssertionError: Prometheus refuses it.
        """
        async with self.session.post(f"{self.url}/api/v1/query", data={"query": expr}) as answer:
            body = await answer.json()
        assert body["status"] == "success", f"{expr}: {body}"
        result = body["data"]["result"]
        return result if body["data"]["resultType"] == "vector" else [{"metric": {}, "value": result}]

    async def wait(self, expr: str, *, deadline_s: float = DEADLINE_S) -> list[dict[str, Any]]:
        """The series of a query, once there are some."""
        async with asyncio.timeout(deadline_s):
            while not (found := await self.query(expr)):
                await asyncio.sleep(0.2)
        return found


def as_shipped() -> dict[str, Any]:
    """The rules with their own timers, the market always open."""
    made = copy.deepcopy(SHIPPED)
    for rule in (rule for group in made["groups"] for rule in group["rules"]):
        if rule.get("record") == "market:open":
            rule["expr"] = "vector(1)"
    return made


def quick(groups: Mapping[str, Any] = SHIPPED, *, hold: str = "1s") -> dict[str, Any]:
    """The rules as shipped, evaluated each second, their `for` shortened to `hold`, the market always open."""
    made = copy.deepcopy(dict(groups))
    for group in made["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = hold
            if rule.get("record") == "market:open":
                rule["expr"] = "vector(1)"
            rule.pop("keep_firing_for", None)  # so that an end shows at once
    return made


@asynccontextmanager
async def running_prometheus(
    directory: Path,
    targets: Mapping[str, Mapping[str, str]],
    *,
    rules: Mapping[str, Any] | None = None,
    alertmanager: str = "",
    every: str = "1s",
) -> AsyncIterator[Prometheus]:
    """Starts it with targets (host:port → labels added) and ends it with the block."""
    directory.mkdir(parents=True, exist_ok=True)
    scrape = {
        "job_name": "targets",
        "honor_labels": True,
        "static_configs": [{"targets": [target], "labels": dict(labels)} for target, labels in targets.items()],
    }
    tree: dict[str, Any] = {
        "global": {"scrape_interval": every, "scrape_timeout": "1s", "evaluation_interval": every},
        "rule_files": [str(directory / "rules.yml")],
        "scrape_configs": [scrape],
    }
    if alertmanager:
        static = [{"targets": [alertmanager.removeprefix("http://")]}]
        tree["alerting"] = {"alertmanagers": [{"static_configs": static}]}
    (directory / "rules.yml").write_text(yaml.safe_dump(dict(rules or quick())))
    (directory / "prometheus.yml").write_text(yaml.safe_dump(tree))
    async with serving(directory) as found:
        yield found


@asynccontextmanager
async def serving(directory: Path, *options: str) -> AsyncIterator[Prometheus]:
    """Starts the server on the configuration and the data that stand in `directory`."""
    port = free_port()
    with (directory / "prometheus.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            require_binary("prometheus"),
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--rules.alert.resend-delay=1s",
            *options,
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as session:
            server = Prometheus(f"http://127.0.0.1:{port}", session)
            await until(lambda: _is_ready(server), directory / "prometheus.log")
            yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def until(holds: Callable[[], Awaitable[bool]], log: Path) -> None:
    """Waits until something holds; the end of the log is in the error where it never does."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await holds():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(log.read_text(errors="replace")[-3000:]) from None


async def _is_ready(server: Prometheus) -> bool:
    try:
        async with server.session.get(f"{server.url}/-/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
