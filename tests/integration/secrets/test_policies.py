"""The shipped set-up on a real server: run twice, then every policy's allowed and denied requests."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.openbao import ROOT, OpenBao, RefusedError, running_openbao
from tests.postgres import Postgres, running_postgres
from tests.require import require_binary

pytestmark = pytest.mark.real
SCRIPTS = Path(__file__).parents[3] / "k8s" / "vault"


@dataclass(frozen=True)
class Cluster:
    """A server that the shipped script has set up."""

    bao: OpenBao
    postgres: Postgres
    place: Path
    output: str

    @property
    def database_port(self) -> int:
        return self.postgres.port

    def run(self, script: str, *arguments: str, token: str = ROOT) -> str:
        """A shipped script's output.

        Raises:
            AssertionError: it failed.
        """
        done = self.attempt(script, *arguments, token=token)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attempt(self, script: str, *arguments: str, token: str = ROOT) -> subprocess.CompletedProcess[str]:
        command = [str(SCRIPTS / script), *arguments]
        return subprocess.run(
            command, env=environ(self.bao, token), capture_output=True, text=True, check=False, cwd=self.place
        )

    def token(self, *policies: str) -> str:
        """A token with exactly these policies."""
        body = {"policies": list(policies), "no_default_policy": True, "ttl": "10m"}
        return str(self.bao.call("POST", "auth/token/create", body)["auth"]["client_token"])


def environ(bao: OpenBao, token: str) -> dict[str, str]:
    place = str(Path(sys.executable).parent)
    return {"PATH": f"{place}:{os.environ['PATH']}", "VAULT_ADDR": bao.address, "VAULT_TOKEN": token, "HOME": "/none"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_binary("jq")
    place = tmp_path_factory.mktemp("cluster")
    (place / "audit.hcl").write_text(
        (SCRIPTS / "audit.hcl").read_text().replace('"stdout"', f'"{place / "audit.log"}"')
    )
    with running_postgres() as postgres, running_openbao(f"-config={place / 'audit.hcl'}") as bao:
        prepare(postgres)
        bao.write_kv("broker/venue", token="old", account_id="101")
        bao.write_kv("broker/api-keys", keys=[])
        bao.write_kv("other/secret", k="v")
        (place / "password").write_text("admin-password")
        variables = {
            "KUBERNETES_CA_FILE": str(authority(place)),
            "DATABASE_HOST": f"127.0.0.1:{postgres.port}",
            "DATABASE_NAME": "postgres",
            "DATABASE_SSLMODE": "disable",
            "DATABASE_ADMIN_PASSWORD_FILE": str(place / "password"),
        }
        outputs = []
        for _ in range(2):
            done = subprocess.run(
                [str(SCRIPTS / "set-up.sh")],
                env=environ(bao, ROOT) | variables,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            outputs.append(done.stdout)
        yield Cluster(bao, postgres, place, outputs[1])


def authority(place: Path) -> Path:
    """A certificate that could be a cluster's."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=cluster", "-out", str(place / "ca.pem"), "-keyout", str(place / "ca.key")]
    subprocess.run(command, check=True, capture_output=True)
    return place / "ca.pem"


def prepare(postgres: Postgres) -> None:
    """Runs the shipped statements as the database's owner."""
    psql = require_binary("psql", "/usr/lib/postgresql/*/bin/psql")
    command = [
        psql,
        "-v",
        "ON_ERROR_STOP=1",
        "-v",
        "password=admin-password",
        "-f",
        str(SCRIPTS / "database/prepare.sql"),
    ]
    command += ["-h", "127.0.0.1", "-p", str(postgres.port), "-U", postgres.user, postgres.database]
    environ = {**os.environ, "PGPASSWORD": postgres.password}
    subprocess.run(command, env=environ, check=True, capture_output=True)


def test_running_it_again_enables_nothing(cluster: Cluster) -> None:
    assert "Enabled" not in cluster.output
    assert "Success! Enabled" not in cluster.output


SIDECAR, ROTATOR, BREAK_GLASS, GRANTOR = "broker-sidecar", "broker-rotator", "break-glass", "break-glass-grantor"
CERTIFICATE = {"common_name": "broker.broker.svc", "alt_names": "broker-preview.broker.svc"}
ALLOWED: list[tuple[str, str, str, dict[str, Any] | None]] = [
    (SIDECAR, "GET", "secret/data/broker/venue", None),
    (SIDECAR, "GET", "secret/data/broker/api-keys", None),
    (SIDECAR, "GET", "secret/metadata/broker/venue", None),
    (SIDECAR, "GET", "database/creds/broker", None),
    (SIDECAR, "POST", "pki/issue/broker", CERTIFICATE),
    (SIDECAR, "GET", "auth/token/lookup-self", None),
    (SIDECAR, "POST", "auth/token/revoke-accessor", {"accessor": "of-nobody"}),
    (ROTATOR, "POST", "secret/data/broker/venue", {"data": {"token": "new"}}),
    (ROTATOR, "GET", "secret/data/broker/api-keys", None),
    (BREAK_GLASS, "GET", "secret/data/broker/venue", None),
    (BREAK_GLASS, "GET", "database/creds/broker", None),
    (BREAK_GLASS, "LIST", "secret/metadata/broker", None),
]
DENIED: list[tuple[str, str, str, dict[str, Any] | None]] = [
    (SIDECAR, "POST", "secret/data/broker/venue", {"data": {"token": "x"}}),
    (SIDECAR, "DELETE", "secret/metadata/broker/venue", None),
    (SIDECAR, "LIST", "secret/metadata/broker", None),
    (SIDECAR, "GET", "secret/data/other/secret", None),
    (SIDECAR, "GET", "secret/data/broker/other", None),
    (SIDECAR, "GET", "database/creds/admin", None),
    (SIDECAR, "GET", "database/config/broker", None),
    (SIDECAR, "POST", "database/rotate-root/broker", {}),
    (SIDECAR, "POST", "pki/sign/broker", {"csr": "x"}),
    (SIDECAR, "POST", "pki/root/generate/internal", {"common_name": "x"}),
    (SIDECAR, "POST", "transit/decrypt/broker", {"ciphertext": "vault:v1:x"}),
    (SIDECAR, "POST", "auth/token/create", {}),
    (SIDECAR, "LIST", "auth/token/accessors", None),
    (SIDECAR, "LIST", "sys/leases/lookup/database/creds/broker", None),
    (SIDECAR, "PUT", "sys/leases/revoke-prefix/database/creds/broker", {}),
    (SIDECAR, "PUT", "sys/policies/acl/broker-sidecar", {"policy": ""}),
    (SIDECAR, "GET", "sys/mounts", None),
    (ROTATOR, "GET", "secret/data/broker/venue", None),
    (ROTATOR, "POST", "secret/data/other/secret", {"data": {}}),
    (ROTATOR, "GET", "database/creds/broker", None),
    (ROTATOR, "DELETE", "secret/metadata/broker/venue", None),
    (BREAK_GLASS, "GET", "secret/data/other/secret", None),
    (BREAK_GLASS, "DELETE", "secret/metadata/broker/venue", None),
    (BREAK_GLASS, "POST", "auth/token/create", {}),
    (BREAK_GLASS, "PUT", "sys/policies/acl/break-glass", {"policy": ""}),
    (GRANTOR, "GET", "secret/data/broker/venue", None),
    (GRANTOR, "POST", "auth/token/create", {}),
    # Unwrapped: the grantor would see the token.
    (GRANTOR, "POST", "auth/token/create/break-glass", {}),
]


def name(case: tuple[str, str, str, object]) -> str:
    return " ".join(case[:3])


@pytest.mark.parametrize("case", ALLOWED, ids=name)
def test_allowed(cluster: Cluster, case: tuple[str, str, str, dict[str, Any] | None]) -> None:
    policy, method, path, body = case
    cluster.bao.call(method, path, body, token=cluster.token(policy))


@pytest.mark.parametrize("case", DENIED, ids=name)
def test_denied(cluster: Cluster, case: tuple[str, str, str, dict[str, Any] | None]) -> None:
    policy, method, path, body = case
    with pytest.raises(RefusedError) as raised:
        cluster.bao.call(method, path, body, token=cluster.token(policy))
    assert raised.value.status == 403


@pytest.mark.parametrize(
    "names",
    [
        {"common_name": "vault.broker.svc"},
        {"common_name": "a.broker.broker.svc"},
        {"common_name": "*.broker.broker.svc"},
        {"common_name": "localhost"},
        {**CERTIFICATE, "alt_names": "postgresql.broker.svc"},
        {**CERTIFICATE, "ip_sans": "10.0.0.1"},
    ],
)
def test_no_certificate_of_another_name_is_issued(cluster: Cluster, names: dict[str, str]) -> None:
    with pytest.raises(RefusedError) as raised:
        cluster.bao.call("POST", "pki/issue/broker", names, token=cluster.token(SIDECAR))
    assert raised.value.status == 400


def test_the_sidecar_may_look_its_leases_up(cluster: Cluster) -> None:
    token = cluster.token(SIDECAR)
    lease = cluster.bao.call("GET", "database/creds/broker", token=token)["lease_id"]
    looked = cluster.bao.call("POST", "sys/leases/lookup", {"lease_id": lease}, token=token)
    assert looked["data"]["id"] == lease


def test_the_login_role_is_bound_to_one_account_and_audience(cluster: Cluster) -> None:
    role = cluster.bao.call("GET", "auth/kubernetes/role/broker")["data"]
    assert role["bound_service_account_names"] == ["broker"]
    assert role["bound_service_account_namespaces"] == ["broker"]
    assert (role["audience"], role["token_policies"]) == ("vault", ["broker-sidecar"])
    assert role["token_no_default_policy"] is True


async def test_what_one_login_makes_the_next_one_owns_and_revocation_ends_its_sessions(cluster: Cluster) -> None:
    port = cluster.database_port

    async def connect() -> tuple[asyncpg.Connection, str]:
        lease = cluster.bao.call("GET", "database/creds/broker")
        user, password = lease["data"]["username"], lease["data"]["password"]
        where = {"host": "127.0.0.1", "port": port, "database": "postgres"}
        return await asyncpg.connect(user=user, password=password, **where), lease["lease_id"]

    first, lease_id = await connect()
    await first.execute("CREATE TABLE history (id int)")
    cluster.bao.call("PUT", "sys/leases/revoke", {"lease_id": lease_id, "sync": True})
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await first.execute("SELECT 1")
    second, _ = await connect()
    await second.execute("INSERT INTO history VALUES (1)")
    await second.execute("ALTER TABLE history ADD COLUMN note text")
    await second.close()


LEFT = """SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND state IS NOT NULL
AND (usename = $1 OR usesysid NOT IN (SELECT oid FROM pg_roles))"""


class Reconnecting:
    """A client that uses its session all the time, and logs in again at once when that ends, until it is `stopped`."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._where = {"host": "127.0.0.1", "port": port, "database": "postgres", "user": user, "password": password}
        self.connected = asyncio.Event()
        self.stopped = False

    async def run(self) -> None:
        while not self.stopped:
            # asyncpg raises the third where a session ends just as it is used.
            with contextlib.suppress(
                asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError
            ):
                connection = await asyncpg.connect(**self._where, timeout=10)
                self.connected.set()
                try:
                    while not self.stopped:
                        await connection.execute("SELECT 1")
                finally:
                    connection.terminate()
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def administrator(cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    """A session of the database's superuser."""
    connection = await asyncpg.connect(cluster.postgres.url(driver="postgresql"))
    try:
        yield connection
    finally:
        await connection.close()


async def revoked_under_use(cluster: Cluster, superuser: asyncpg.Connection) -> tuple[list[Any], int]:
    """Sessions and roles that are left of a login that was revoked while four clients used it."""
    lease = cluster.bao.call("GET", "database/creds/broker")
    user, password = lease["data"]["username"], lease["data"]["password"]
    clients = [Reconnecting(cluster.database_port, user, password) for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run())
        for client in clients:
            await client.connected.wait()
        body = {"lease_id": lease["lease_id"], "sync": True}
        await asyncio.to_thread(cluster.bao.call, "PUT", "sys/leases/revoke", body)
        left = await superuser.fetch(LEFT, user)
        for client in clients:
            client.stopped = True
    return left, await superuser.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", user)


async def test_after_a_revocation_no_session_of_the_login_remains(cluster: Cluster) -> None:
    async with administrator(cluster) as superuser:
        for _ in range(int(os.environ.get("REVOCATIONS", "3"))):
            assert await revoked_under_use(cluster, superuser) == ([], 0)


async def test_a_revocation_that_is_repeated_succeeds(cluster: Cluster) -> None:
    lease = cluster.bao.call("GET", "database/creds/broker")
    user = lease["data"]["username"]
    async with administrator(cluster) as superuser:
        for statement in ("REASSIGN OWNED BY {} TO broker_owner", "DROP OWNED BY {}", "DROP ROLE {}"):
            await superuser.execute(statement.format(f'"{user}"'))
    cluster.bao.call("PUT", "sys/leases/revoke", {"lease_id": lease["lease_id"], "sync": True})


def test_a_new_venue_token_keeps_the_other_fields(cluster: Cluster) -> None:
    (cluster.place / "new").write_text("fresh-token\n")
    text = cluster.run("rotate.sh", "venue", "new", token=cluster.token(ROTATOR))
    data = cluster.bao.call("GET", "secret/data/broker/venue")["data"]
    assert data["data"]["token"] == "fresh-token"
    assert text == f"broker/venue: version {data['metadata']['version']}\n"


def test_api_keys_come_and_go_as_digests(cluster: Cluster) -> None:
    token = cluster.token(ROTATOR)
    cluster.run("rotate.sh", "add-key", "flow", "read,trade", "key", token=token)
    key = (cluster.place / "key").read_text().strip()
    (stored,) = cluster.bao.call("GET", "secret/data/broker/api-keys")["data"]["data"]["keys"]
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert stored == {"id": "flow", "sha256": digest, "scopes": ["read", "trade"]}
    assert (cluster.place / "key").stat().st_mode & 0o077 == 0
    cluster.run("rotate.sh", "drop-key", "flow", token=token)
    assert cluster.bao.call("GET", "secret/data/broker/api-keys")["data"]["data"]["keys"] == []


def test_a_key_that_is_not_there_cannot_be_dropped(cluster: Cluster) -> None:
    done = cluster.attempt("rotate.sh", "drop-key", "nosuch", token=cluster.token(ROTATOR))
    assert (done.returncode, done.stderr) == (66, "broker/api-keys has no key nosuch; nothing was dropped\n")


def test_a_venue_token_is_not_patched_into_a_deleted_version(cluster: Cluster) -> None:
    (cluster.place / "new").write_text("fresh-token\n")
    cluster.bao.call("DELETE", "secret/data/broker/venue")
    now = cluster.bao.call("GET", "secret/metadata/broker/venue")["data"]["current_version"]
    done = cluster.attempt("rotate.sh", "venue", "new", token=cluster.token(ROTATOR))
    cluster.bao.call("POST", "secret/undelete/broker/venue", {"versions": [now]})
    assert done.returncode != 0
    assert f"version {now} is deleted; undelete it first" in done.stderr


def test_only_a_living_token_is_said_to_be_ended(cluster: Cluster) -> None:
    done = cluster.attempt("break-glass.sh", "end", "of-nobody", token=cluster.token(GRANTOR))
    assert done.returncode == 66
    assert "no living token has the accessor of-nobody; nothing was ended" in done.stderr


@pytest.mark.parametrize(("period", "said"), [("3h", "gives at most 1h"), ("soon", "must be a time such as 30m")])
def test_a_grant_that_the_role_would_shorten_is_refused(cluster: Cluster, period: str, said: str) -> None:
    done = cluster.attempt("break-glass.sh", "grant", "--reason", "x", "--for", period, token=cluster.token(GRANTOR))
    assert done.returncode == 64
    assert said in done.stderr


def test_uses_are_found_between_the_servers_own_lines(cluster: Cluster) -> None:
    used = {"type": "request", "auth": {"policies": ["break-glass"]}, "request": {"id": "r", "path": "p"}}
    log = cluster.place / "container.log"
    log.write_text(f"==> Vault server started!\n{json.dumps(used)}\n2026-11-30 [INFO] core: post-unseal\n17\n")
    (line,) = cluster.run("break-glass.sh", "uses", str(log)).splitlines()
    assert json.loads(line)["request"] == "r"
    log.write_text("==> Vault server started!\n")
    done = cluster.attempt("break-glass.sh", "uses", str(log))
    assert (done.returncode, done.stderr) == (65, f"{log} has no record of an audit device\n")


def test_break_glass_from_grant_to_end(cluster: Cluster) -> None:
    arguments = ("grant", "--unalarmed", "--reason", "venue token lost", "--for", "20m")
    granted = json.loads(cluster.run("break-glass.sh", *arguments, token=cluster.token(GRANTOR)))
    token = cluster.run("break-glass.sh", "open", granted["wrapping_token"], token="none").strip()
    looked = cluster.bao.call("GET", "auth/token/lookup-self", token=token)["data"]
    assert looked["meta"] == {"reason": "venue token lost"}
    assert looked["explicit_max_ttl"] == 1200
    assert looked["renewable"] is False
    cluster.bao.call("GET", "secret/data/broker/venue", token=token)
    assert cluster.attempt("break-glass.sh", "open", granted["wrapping_token"], token="none").returncode != 0
    cluster.run("break-glass.sh", "end", granted["accessor"], token=cluster.token(GRANTOR))
    with pytest.raises(RefusedError):
        cluster.bao.call("GET", "secret/data/broker/venue", token=token)
    uses = cluster.run("break-glass.sh", "uses", str(cluster.place / "audit.log"))
    found = [json.loads(line) for line in uses.splitlines()]
    assert ("secret/data/broker/venue", "read", "venue token lost") in [
        (item["path"], item["operation"], item["reason"]) for item in found
    ]


def test_break_glass_wants_a_reason(cluster: Cluster) -> None:
    done = cluster.attempt("break-glass.sh", "grant")
    assert (done.returncode, done.stderr) == (64, "a reason is required: --reason TEXT\n")
