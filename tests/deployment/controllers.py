"""Controllers in a cluster of the tests: Kubernetes' own, Argo Rollouts', and nodes on which pods do well.

The controllers are the real programs. Of a node there is what controllers see of it: a pod that was made runs and is
ready, a job's pod ends well.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from lightkube import Client, KubeConfig
from lightkube.resources.core_v1 import Pod

from tests.deployment.cluster import Cluster, start
from tests.deployment.rendering import ROOT, Manifest
from tests.require import require_binary

BUILT = ROOT / ".cache" / "kubernetes"
BEAT_S = 0.2
JOB = "batch.kubernetes.io/job-name"


@contextmanager
def running_controllers(cluster: Cluster) -> Iterator[None]:
    """ReplicaSets and Jobs get their pods, Rollouts their ReplicaSets; it ends with the block."""
    children = [start(cluster.place / f"{name}.log", command) for name, command in _commands(cluster).items()]
    ending = threading.Event()
    nodes = threading.Thread(target=_run_nodes, args=(cluster, ending))
    nodes.start()
    try:
        yield
    finally:
        ending.set()
        nodes.join(10)
        for child in children:
            child.kill()
            child.wait(60)


def _commands(cluster: Cluster) -> dict[str, list[str]]:
    kubernetes = require_binary("controllers", str(BUILT / "controllers"))
    rollouts = require_binary("rollouts-controller", str(BUILT / "rollouts-controller"))
    config = str(cluster.kubeconfig)
    return {
        "kubernetes": [kubernetes, config],
        "rollouts": [rollouts, f"--kubeconfig={config}", "--leader-elect=false", "--healthzPort=0", "--metricsport=0"],
    }


def _run_nodes(cluster: Cluster, ending: threading.Event) -> None:
    with Client(config=KubeConfig.from_file(str(cluster.kubeconfig))) as client:
        while not ending.wait(BEAT_S):
            for pod in client.list(Pod, namespace="broker"):
                assert pod.metadata is not None
                assert pod.metadata.name is not None
                if pod.status is None or pod.status.phase == "Pending":
                    status = _status(is_job=JOB in (pod.metadata.labels or {}))
                    client.patch(Pod.Status, pod.metadata.name, {"status": status}, namespace="broker")


def _status(*, is_job: bool) -> Manifest:
    now = datetime.now(UTC).isoformat()
    ready = {"type": "Ready", "status": "False" if is_job else "True", "lastTransitionTime": now}
    return {"phase": "Succeeded" if is_job else "Running", "conditions": [ready], "startTime": now}


def definitions() -> list[Path]:
    """The custom resources of Argo Rollouts, of the same version as its controller."""
    return sorted((BUILT / "rollouts").glob("*-crd.yaml"))


@dataclass(slots=True)
class Answers:
    """A Prometheus that answers each query by what `value` says of it; keeps the queries."""

    value: Callable[[str], float]
    queries: list[str] = field(default_factory=list)


@contextmanager
def answering(answers: Answers) -> Iterator[str]:
    """Serves the query API (https://prometheus.io/docs/prometheus/latest/querying/api/); its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(parse_qs(body)["query"][0])

        def do_GET(self) -> None:
            self._answer(parse_qs(urlsplit(self.path).query)["query"][0])

        def _answer(self, query: str) -> None:
            answers.queries.append(query)
            result = [{"metric": {}, "value": [0, str(answers.value(query))]}]
            text = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Nothing: the queries are kept."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        server.server_close()
