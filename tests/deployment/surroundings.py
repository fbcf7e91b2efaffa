"""What a pod finds in a cluster: Vault over TLS, the API server's token reviews, PostgreSQL, a venue, a collector.

The servers are real and listen on loopback; `relay` shows them to one pod's network under the names in its files.
"""

from __future__ import annotations

import asyncio
import base64
import http.server
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
from tests.deployment.rendering import ROOT
from tests.openbao import ROOT as ROOT_TOKEN
from tests.openbao import OpenBao, running_openbao
from tests.postgres import Postgres, running_postgres
from tests.require import require_binary

VAULT, POSTGRESQL, COLLECTOR, VENUE = "vault.vault", "postgresql.databases", "otel-collector", "venue.example"
VENUE_TOKEN, API_KEY = "token-1", "key-of-flow"


def _pod_token() -> str:
    """A projected token's shape and claims; its signature is nobody's: the token review decides."""
    identity = {"namespace": "broker", "serviceaccount": {"name": "broker", "uid": "1"}}
    claims: dict[str, Any] = {
        "aud": ["vault"],
        "exp": 4102444800,
        "nbf": 1700000000,
        "iat": 1700000000,
        "iss": "test",
        "kubernetes.io": identity,
    }
    claims["sub"] = "system:serviceaccount:broker:broker"
    parts = [json.dumps({"alg": "RS256"}), json.dumps(claims), "signature"]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


POD_TOKEN = _pod_token()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Servers that run. `ports`: loopback port by the name and port that the pod knows."""

    bao: OpenBao
    postgres: Postgres
    simulator: dict[str, Any]
    place: Path

    def ports(self, otlp_port: int) -> dict[tuple[str, int], int]:
        rest, stream = (int(self.simulator[name].rpartition(":")[2]) for name in ("rest", "stream"))
        vault = int(self.bao.address.rpartition(":")[2])
        return {
            (VAULT, 8200): vault,
            (POSTGRESQL, 5432): self.postgres.port,
            (COLLECTOR, 4317): otlp_port,
            (VENUE, 8010): rest,
            (VENUE, 8011): stream,
        }

    @property
    def authority(self) -> str:
        """Who signs Vault's certificate."""
        return (self.place / "ca.pem").read_text()


@contextmanager
def surroundings(place: Path) -> Iterator[Surroundings]:
    """Starts PostgreSQL, OpenBao with the shipped set-up, and the simulator."""
    make_certificates(place, VAULT)
    with running_postgres() as postgres, running_openbao() as bao, token_reviews(place) as reviews:
        _prepare(postgres)
        _set_up(bao, postgres, reviews, place)
        with _simulator(place) as simulator:
            yield Surroundings(bao=bao, postgres=postgres, simulator=simulator, place=place)


class _Reviewer(http.server.BaseHTTPRequestHandler):
    """Answers TokenReview (authentication.k8s.io/v1): one token is the pod's."""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = review["spec"]["token"] == POD_TOKEN
        review["status"] = {"authenticated": known}
        if known:
            user = {"username": "system:serviceaccount:broker:broker", "uid": "1", "groups": []}
            review["status"] |= {"user": user, "audiences": ["vault"]}
        body = json.dumps(review).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def token_reviews(place: Path) -> Iterator[str]:
    """An API server that only reviews tokens; its URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Reviewer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _prepare(postgres: Postgres) -> None:
    """The shipped statements, as the database's owner."""
    psql = require_binary("psql", "/usr/lib/postgresql/*/bin/psql")
    command = [psql, "-v", "ON_ERROR_STOP=1", "-v", "password=admin-password", "-h", "127.0.0.1"]
    command += ["-f", str(ROOT / "k8s" / "vault" / "database" / "prepare.sql"), "-p", str(postgres.port)]
    environ = {**os.environ, "PGPASSWORD": postgres.password}
    subprocess.run([*command, "-U", postgres.user, postgres.database], env=environ, check=True, capture_output=True)


def _set_up(bao: OpenBao, postgres: Postgres, reviews: str, place: Path) -> None:
    keys = [{"id": "flow", "sha256": sha256(API_KEY.encode()).hexdigest(), "scopes": ["read", "trade", "admin"]}]
    bao.write_kv("broker/venue", token=VENUE_TOKEN, account_id=ACCOUNT)
    bao.write_kv("broker/api-keys", keys=keys)
    (place / "password").write_text("admin-password")
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": "/none",
        "VAULT_ADDR": bao.address,
        "VAULT_TOKEN": ROOT_TOKEN,
        "KUBERNETES_HOST": reviews,
        "KUBERNETES_CA_FILE": str(place / "ca.pem"),
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
    try:
        for line in child.stdout:
            if '"listening"' in line:
                break
        drain = threading.Thread(target=child.stdout.read, daemon=True)
        drain.start()
        yield dict(json.loads(line))
    finally:
        child.terminate()
        child.wait(10)


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
