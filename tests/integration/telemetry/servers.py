"""Starting real servers for a test: free ports, output kept, ended with the block."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.ports import free_port
from tests.require import missing, require_binary

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache"
TEMPLATES = ROOT / "otel-collector" / "elasticsearch"
START_S = 90.0


@dataclass
class Server:
    """A process with its output in a file. `with server:` starts it, waits until `probe` answers 200, and ends it."""

    command: Sequence[str]
    output: Path
    probe: str
    environ: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it, again after a stop, on the same ports and files."""
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(self.command, stdout=file, stderr=file, env={**os.environ, **self.environ})
        self.wait(lambda: fetch(self.probe) is not None, f"{self.probe} answers")

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after ten seconds."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def wait(self, holds: Callable[[], bool], what: str, deadline_s: float = START_S) -> None:
        """Waits until something holds.

        Raises:
            AssertionError: it does not in time; the end of the server's output is in the text.
        """
        end = time.monotonic() + deadline_s
        while not holds():
            gone = self.process is not None and self.process.poll() is not None
            if gone or time.monotonic() > end:
                tail = self.output.read_text(errors="replace")[-3000:]
                raise AssertionError(f"not within {deadline_s:.0f} s: {what}\n{tail}")
            time.sleep(0.05)


def fetch(url: str, *, method: str = "GET", body: bytes | None = None) -> Any:
    """The JSON or text that a URL answers, None where nobody does or the answer is no success."""
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "application/json"})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            data = answer.read()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()


@dataclass
class Engine(Server):
    """An Elasticsearch node."""

    url: str = ""

    def install_templates(self) -> None:
        """Puts the templates that the deployment installs, components first."""
        for path in sorted(TEMPLATES.glob("*@*.json")):
            self.put(f"_component_template/{path.stem}", path.read_bytes())
        for name in ("broker-logs", "broker-audit"):
            self.put(f"_index_template/{name}", (TEMPLATES / f"{name}.json").read_bytes())

    def put(self, path: str, body: bytes) -> None:
        """PUT that must succeed."""
        assert fetch(f"{self.url}/{path}", method="PUT", body=body), path

    def documents(self, namespace: str, dataset: str = "broker") -> list[dict[str, Any]]:
        """Every document of a data stream's namespace, with `_id` and `_source`."""
        stream = f"logs-{dataset}.otel-{namespace}"
        fetch(f"{self.url}/{stream}/_refresh", method="POST")
        found = fetch(f"{self.url}/{stream}/_search?size=10000&sort=@timestamp")
        return [] if found is None else found["hits"]["hits"]

    def mapping(self, namespace: str) -> dict[str, Any]:
        """The mapping of a data stream's newest index."""
        found = fetch(f"{self.url}/logs-broker.otel-{namespace}/_mapping")
        return dict(max(found.items())[1]["mappings"])


def engine(place: Path) -> Engine:
    """A node that keeps its data in `place`."""
    java = require_binary("java")
    home = CACHE / "elasticsearch"
    if not (home / "inputs").exists():
        missing("the Elasticsearch node", "make test-deps")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["-Xms256m", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{home}/classes:{home}/server/*"]
    command = [java, *options, "EsNode", str(port), str(place / "engine"), str(home / "modules")]
    return Engine(command, place / "engine.log", f"{url}/_cluster/health?wait_for_status=yellow&timeout=5s", url=url)


@dataclass
class Collector(Server):
    """The collector distribution with the configuration that ships."""

    endpoint: str = ""
    own_metrics: str = ""
    prometheus: str = ""
    log_metrics: str = ""
    """Host and port of the counters that it makes from logs."""

    def wait_sent(self, count: int) -> None:
        """Waits until its exporters have sent so many log records."""
        self.wait(lambda: self.sent() >= count, f"{count} records sent")

    def sent(self) -> float:
        """Log records that its exporters have sent."""
        text = str(fetch(self.own_metrics))
        lines = [line for line in text.splitlines() if line.startswith("otelcol_exporter_sent_log_records")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def collector_binary() -> str:
    """The collector that make test-deps built."""
    return require_binary("otelcol-broker", str(CACHE / "otelcol" / "otelcol-broker"))


def router_binary() -> str:
    """The distribution of the first tier, which make test-deps built."""
    return require_binary("otelcol-router", str(CACHE / "otelcol-router" / "otelcol-router"))


def collector(place: Path, elasticsearch_url: str) -> Collector:
    """A collector that keeps its queue in `place`."""
    otlp, health, metrics, prometheus, log_metrics = (free_port() for _ in range(5))
    environ = {
        "OTLP_LISTEN": f"127.0.0.1:{otlp}",
        "HEALTH_LISTEN": f"127.0.0.1:{health}",
        "PROMETHEUS_LISTEN": f"127.0.0.1:{prometheus}",
        "LOG_METRICS_LISTEN": f"127.0.0.1:{log_metrics}",
        "METRICS_HOST": "127.0.0.1",
        "METRICS_PORT": str(metrics),
        "QUEUE_DIRECTORY": str(place / "queue"),
        "ELASTICSEARCH_URL": elasticsearch_url,
        "DEPLOYMENT_ENVIRONMENT": "test",
        "RETRY_MAX_INTERVAL": "500ms",
    }
    config = ROOT / "otel-collector" / "config.yaml"
    return Collector(
        [collector_binary(), "--config", str(config)],
        place / "collector.log",
        f"http://127.0.0.1:{health}/",
        environ,
        endpoint=f"http://127.0.0.1:{otlp}",
        own_metrics=f"http://127.0.0.1:{metrics}/metrics",
        prometheus=f"http://127.0.0.1:{prometheus}/metrics",
        log_metrics=f"127.0.0.1:{log_metrics}",
    )


def prometheus(place: Path, target: str) -> tuple[Server, str]:
    """A Prometheus that scrapes one address each second, and its API's URL."""
    port = free_port()
    scrape = {"job_name": "sidecar", "static_configs": [{"targets": [target]}], "scrape_interval": "1s"}
    (place / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
    command = [
        require_binary("prometheus"),
        f"--config.file={place}/prometheus.yml",
        f"--storage.tsdb.path={place}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    return Server(
        command, place / "prometheus.log", f"http://127.0.0.1:{port}/-/ready"
    ), f"http://127.0.0.1:{port}/api/v1"
