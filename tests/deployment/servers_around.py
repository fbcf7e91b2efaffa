"""Servers that a pod finds in a cluster: Vault over TLS, the API server, PostgreSQL, a venue, a collector.

The servers are real and listen on loopback; `relay` shows them to one pod's network under the names in its files.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from devstack.configuration import ACCOUNT
from tests.deployment.certificates import make_certificates
from tests.deployment.cluster import Cluster, running_cluster
from tests.deployment.rendering import ROOT, rendered
from tests.openbao import ROOT as ROOT_TOKEN
from tests.openbao import OpenBao, running_openbao
from tests.postgres import Postgres, running_postgres
from tests.require import require_binary

VAULT, POSTGRESQL, COLLECTOR, VENUE = "vault.vault", "postgresql.databases", "otel-collector", "venue.example"
API_SERVER = "kubernetes.default.svc"
PREPARED = {"Namespace", "ServiceAccount", "Role", "RoleBinding"}
"""Parts of the overlay that the pod's accounts need."""
VENUE_TOKEN, API_KEY = "token-1", "key-of-flow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Servers that run. `ports`: loopback port by the name and port that the pod knows."""

    bao: OpenBao
    cluster: Cluster
    postgres: Postgres
    simulator: dict[str, Any]
    place: Path

    def ports(self, otlp_port: int) -> dict[tuple[str, int], int]:
        rest, stream = (int(self.simulator[name].rpartition(":")[2]) for name in ("rest", "stream"))
        vault = int(self.bao.address.rpartition(":")[2])
        return {
            (VAULT, 8200): vault,
            (API_SERVER, 6443): int(self.cluster.url.rpartition(":")[2]),
            (POSTGRESQL, 5432): self.postgres.port,
            (COLLECTOR, 4317): otlp_port,
            (VENUE, 8010): rest,
            (VENUE, 8011): stream,
        }

    @property
    def authority(self) -> str:
        """Authority that signs Vault's certificate."""
        return (self.place / "ca.pem").read_text()


@contextmanager
def surroundings(place: Path) -> Iterator[Surroundings]:
    """Starts PostgreSQL, an API server, OpenBao with the shipped set-up, and the simulator."""
    make_certificates(place, VAULT)
    (place / "cluster").mkdir()
    with running_postgres() as postgres, running_openbao() as bao, running_cluster(place / "cluster") as cluster:
        cluster.apply(*(item for item in rendered("production") if item["kind"] in PREPARED))
        _prepare(postgres)
        _set_up(bao, postgres, cluster, place)
        with _simulator(place) as simulator:
            yield Surroundings(bao=bao, cluster=cluster, postgres=postgres, simulator=simulator, place=place)


def _prepare(postgres: Postgres) -> None:
    """The shipped statements, as the database's owner."""
    psql = require_binary("psql", "/usr/lib/postgresql/*/bin/psql")
    command = [psql, "-v", "ON_ERROR_STOP=1", "-v", "password=admin-password", "-h", "127.0.0.1"]
    command += ["-f", str(ROOT / "k8s" / "vault" / "database" / "prepare.sql"), "-p", str(postgres.port)]
    environ = {**os.environ, "PGPASSWORD": postgres.password}
    subprocess.run([*command, "-U", postgres.user, postgres.database], env=environ, check=True, capture_output=True)


def _set_up(bao: OpenBao, postgres: Postgres, cluster: Cluster, place: Path) -> None:
    cluster.kubectl("create", "serviceaccount", "vault", "-n", "default")
    reviewer = ["--clusterrole=system:auth-delegator", "--serviceaccount=default:vault"]
    cluster.kubectl("create", "clusterrolebinding", "vault", *reviewer)
    (place / "reviewer").write_text(cluster.token("vault", "default"))
    keys = [{"id": "flow", "sha256": sha256(API_KEY.encode()).hexdigest(), "scopes": ["read", "trade", "admin"]}]
    bao.write_kv("broker/venue", token=VENUE_TOKEN, account_id=ACCOUNT)
    bao.write_kv("broker/api-keys", keys=keys)
    (place / "password").write_text("admin-password")
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": "/none",
        "VAULT_ADDR": bao.address,
        "VAULT_TOKEN": ROOT_TOKEN,
        "KUBERNETES_HOST": cluster.url,
        "KUBERNETES_CA_FILE": str(cluster.place / "ca.pem"),
        "KUBERNETES_REVIEWER_TOKEN_FILE": str(place / "reviewer"),
        "DATABASE_HOST": f"127.0.0.1:{postgres.port}",
        "DATABASE_NAME": postgres.database,
        "DATABASE_SSLMODE": "disable",
        "DATABASE_ADMIN_PASSWORD_FILE": str(place / "password"),
    }
    done = subprocess.run(
        [str(ROOT / "k8s" / "vault" / "set-up.sh")], env=environ, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def _simulator(place: Path) -> Iterator[dict[str, Any]]:
    (place / "token").write_text(VENUE_TOKEN)
    command = [sys.executable, "-m", "broker.simulator", "--port", "0", "--seed", "1"]
    command += ["--token-file", str(place / "token"), "--account", ACCOUNT]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, text=True)
    assert child.stdout is not None
    drain = threading.Thread(target=child.stdout.read, daemon=True)
    try:
        for line in child.stdout:
            if '"listening"' in line:
                break
        drain.start()
        yield dict(json.loads(line))
    finally:
        child.terminate()
        child.wait(60)
        drain.join()
        child.stdout.close()


@asynccontextmanager
async def relay(gateway: str, around: Surroundings, otlp_port: int) -> AsyncIterator[set[str]]:
    """Passes connections to the pod's gateway on; a name that is added to the set yielded is away."""
    away: set[str] = set()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(around.place / "server.pem")
    servers = []
    for (name, port), there in around.ports(otlp_port).items():
        tls = context if name == VAULT else None
        servers.append(await asyncio.start_server(_pass(name, there, away), gateway, port, ssl=tls))
    try:
        yield away
    finally:
        for server in servers:
            server.close()


def _pass(name: str, port: int, away: set[str]) -> Any:
    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if name in away:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        writer.transport.abort()
        back.transport.abort()

    return connection


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    if sink.can_write_eof():
        with suppress(OSError):
            sink.write_eof()
