"""A real API server on its own etcd, without nodes or controllers: what is applied is validated, admitted and kept.

The lowest Kubernetes that the manifests support. Admission is the usual one, Pod Security among it; RBAC decides.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.deployment.certificates import make_certificates
from tests.deployment.rendering import ROOT, SCHEMAS, Manifest
from tests.ports import free_port
from tests.require import require_binary

ADMIN = "token-of-the-admin"
READY_S = 60.0
ESTABLISHED_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """An API server that runs."""

    url: str
    place: Path

    @property
    def authority(self) -> str:
        """Authority that signs its certificate."""
        return (self.place / "ca.pem").read_text()

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator."""
        return self.place / "kubeconfig"

    def try_kubectl(
        self, *arguments: str, text: str = "", token: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """A command, as the administrator unless a token is given."""
        who = ["--kubeconfig", str(self.kubeconfig), *(("--user=", f"--token={token}") if token else ())]
        command = [str(ROOT / ".venv" / "bin" / "kubectl"), *who, *arguments]
        environ = {"HOME": str(self.place), "PATH": os.environ["PATH"]}
        return subprocess.run(command, input=text, check=False, capture_output=True, text=True, env=environ)

    def kubectl(self, *arguments: str, text: str = "") -> str:
        """The same, where it must go well."""
        done = self.try_kubectl(*arguments, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *manifests: Manifest) -> None:
        """Applies manifests; a field that the server does not know is a fault."""
        self.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", text=yaml.safe_dump_all(manifests))

    def define(self, *definitions: Manifest) -> None:
        """Applies custom resource definitions and waits until the server serves them.

        `kubectl wait` gives up on a definition whose status nobody has written yet.
        """
        self.apply(*definitions)
        until(
            lambda: all(map(_is_established, json.loads(self.kubectl("get", "crd", "-o", "json"))["items"])),
            ESTABLISHED_S,
        )

    def token(self, account: str, namespace: str = "broker", audience: str | None = None) -> str:
        """A token of a service account, from the TokenRequest API as the kubelet asks for it."""
        audiences = [f"--audience={audience}"] if audience else []
        return self.kubectl("create", "token", account, "-n", namespace, "--duration=1h", *audiences).strip()


def until(is_so: Callable[[], bool], within_s: float = 120.0) -> None:
    """Waits until something of the cluster is so."""
    ends_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < ends_s, is_so
        time.sleep(0.2)


def _is_established(definition: Manifest) -> bool:
    conditions = definition.get("status", {}).get("conditions") or ()
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)


@contextmanager
def running_cluster(place: Path) -> Iterator[Cluster]:
    """Starts etcd and the API server; both end with the block."""
    etcd, server = (
        require_binary("etcd"),
        require_binary("kube-apiserver", str(ROOT / ".cache/kubernetes/kube-apiserver")),
    )
    store, peers, port = (free_port() for _ in range(3))
    make_certificates(place, "kubernetes.default.svc")
    _write_identity(place, f"https://127.0.0.1:{port}")
    children = [
        start(place / "etcd.log", _etcd(etcd, place, store, peers)),
        start(place / "apiserver.log", _api_server(server, place, store, port)),
    ]
    try:
        cluster = Cluster(url=f"https://127.0.0.1:{port}", place=place)
        _wait_ready(cluster, children)
        yield cluster
    finally:
        for child in reversed(children):
            child.kill()
            child.wait(60)


def custom_definitions() -> list[Manifest]:
    """CustomResourceDefinitions of the schemas that the manifests are checked against."""
    return [_definition(path.stem, json.loads(path.read_text())) for path in sorted(SCHEMAS.glob("*.json"))]


def _definition(stem: str, schema: Manifest) -> Manifest:
    group, version, kind = stem.split("_")
    plural = f"{kind.lower()}s"
    tree = _structural(schema)
    # The server has its own schema of this.
    tree["properties"].pop("metadata", None)
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": tree}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [served],
        },
    }


def _structural(schema: Manifest) -> Manifest:
    """JSON Schema in the API server's form: it closes objects itself, and has its own words for what is open."""
    if isinstance(schema.get("type"), list):
        return {"x-kubernetes-int-or-string": True}
    made = {key: value for key, value in schema.items() if key not in {"$schema", "additionalProperties"}}
    if "properties" in schema:
        made["properties"] = {name: _structural(item) for name, item in schema["properties"].items()}
    if isinstance(schema.get("items"), dict):
        made["items"] = _structural(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _structural(schema["additionalProperties"])
    elif schema.get("type", "object") == "object" and "properties" not in schema:
        made["x-kubernetes-preserve-unknown-fields"] = True
    return made


def _write_identity(place: Path, url: str) -> None:
    """The key that signs tokens, the administrator's token, and how kubectl comes in with it."""
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    (place / "accounts.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    (place / "tokens.csv").write_text(f'{ADMIN},admin,admin,"system:masters"\n')
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(place / "ca.pem")}}],
        "users": [{"name": "admin", "user": {"token": ADMIN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
    }
    (place / "kubeconfig").write_text(yaml.safe_dump(config))


def _etcd(binary: str, place: Path, store: int, peers: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{store}", f"http://127.0.0.1:{peers}"
    return [
        binary,
        f"--data-dir={place / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def _api_server(binary: str, place: Path, store: int, port: int) -> list[str]:
    return [
        binary,
        f"--etcd-servers=http://127.0.0.1:{store}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={place / 'server.pem'}",
        f"--tls-private-key-file={place / 'server.pem'}",
        f"--token-auth-file={place / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={place / 'accounts.pem'}",
        f"--service-account-signing-key-file={place / 'accounts.pem'}",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--endpoint-reconciler-type=none",
        # No controllers run: nobody makes each namespace its account, nor collects what has no owner.
        "--disable-admission-plugins=ServiceAccount",
    ]


def start(log: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """A child whose output goes into a file."""
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def _wait_ready(cluster: Cluster, children: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + READY_S
    while cluster.try_kubectl("get", "--raw=/readyz").returncode:
        waits = all(child.poll() is None for child in children) and time.monotonic() < end
        assert waits, (cluster.place / "apiserver.log").read_text()[-4000:]
        time.sleep(0.2)
