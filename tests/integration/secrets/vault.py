"""Mounts and policies of the agent's tests on a real server, and their questions to it afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg

from sidecar.secrets.agent import SecretsAgent
from sidecar.secrets.audit import AuditEvent
from sidecar.secrets.settings import AuthSettings, FileSettings, SecretSettings, SecretsSettings
from tests.openbao import OpenBao
from tests.postgres import Postgres
from tests.unit.sidecar.secrets.agent_harness import AuditRecorder

RULES = """
path "secret/data/{name}/*" {{ capabilities = ["read"] }}
path "secret/metadata/{name}/*" {{ capabilities = ["read"] }}
path "database/creds/{name}" {{ capabilities = ["read"] }}
path "auth/token/revoke-accessor" {{ capabilities = ["update"] }}
path "auth/token/renew-accessor" {{ capabilities = ["update"] }}
path "sys/leases/lookup" {{ capabilities = ["update"] }}
path "sys/leases/renew" {{ capabilities = ["update"] }}
path "sys/leases/revoke" {{ capabilities = ["update"] }}
"""
CREATE = """CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """A corner of the servers that belongs to one test."""

    bao: OpenBao
    postgres: Postgres
    place: Path
    name: str
    audit: AuditRecorder = field(default_factory=AuditRecorder)

    def set_up(self) -> None:
        """A kv secret, a database role and an AppRole."""
        self.bao.write_kv(f"{self.name}/venue", token="first")
        self.bao.approle(
            self.place, policy=self.name, rules=RULES.format(name=self.name), token_ttl="20m", token_max_ttl="24h"
        )
        self.database(ttl="1h", max_ttl="24h")

    async def connect(self) -> asyncpg.Connection:
        """To the database, with the login that is published; the caller closes it."""
        found = self.read("database.json")
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.postgres.port,
            user=found["username"],
            password=found["password"],
            database="postgres",
        )

    def database(self, *, ttl: str, max_ttl: str, revoke: str = "") -> None:
        """The database role with these lives."""
        if "database/" not in self.bao.call("GET", "sys/mounts")["data"]:
            self.bao.call("POST", "sys/mounts/database", {"type": "database"})
        self.bao.call(
            "POST",
            f"database/config/{self.name}",
            {
                "plugin_name": "postgresql-database-plugin",
                "allowed_roles": self.name,
                "connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:"
                f"{self.postgres.port}/postgres?sslmode=disable",
                "username": self.postgres.user,
                "password": self.postgres.password,
            },
        )
        role = {"db_name": self.name, "creation_statements": [CREATE], "default_ttl": ttl, "max_ttl": max_ttl}
        if revoke:
            role["revocation_statements"] = [revoke, """DROP ROLE IF EXISTS "{{name}}" """]
        self.bao.call("POST", f"database/roles/{self.name}", role)

    def settings(self, *, database: bool = True, **changes: Any) -> SecretsSettings:
        """Settings of an agent: a kv secret and, if wanted, a database secret."""
        venue = SecretSettings(
            name="venue", source="kv", path=f"{self.name}/venue", files=(FileSettings(name="venue.json"),)
        )
        leased = SecretSettings(
            name="database",
            source="leased",
            path=f"database/creds/{self.name}",
            files=(FileSettings(name="database.json", keys=("username", "password")),),
        )
        settings = SecretsSettings(
            address=self.bao.address,
            auth=AuthSettings(
                method="approle", role_id_file=self.place / "role-id", secret_id_file=self.place / "secret-id"
            ),
            directory=self.place / "published",
            lease_journal=self.place / "leases",
            require_tmpfs=False,
            secrets=(venue, leased) if database else (venue,),
        )
        return replace(settings, **changes)

    @asynccontextmanager
    async def running(self, settings: SecretsSettings | None = None) -> AsyncIterator[SecretsAgent]:
        """An agent that has published."""
        agent = SecretsAgent(settings or self.settings(), audit=self.audit)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run(stop))
            try:
                await until(lambda: self.audited("secrets.login") and agent.status().token.state == "valid")
                await until(lambda: all(item.state == "fresh" for item in agent.status().secrets))
                await until(lambda: agent.status().generation_published > 0)
                yield agent
            finally:
                stop.set()

    def audited(self, name: str) -> list[AuditEvent]:
        """Values that were recorded under a name."""
        return [event for event in self.audit if event.name == name]

    def read(self, file: str) -> dict[str, Any]:
        """A published file."""
        return dict(json.loads((self.place / "published" / file).read_text()))

    def leases(self) -> list[str]:
        """Leases of the database role, by the server's count."""
        return self.bao.leases(f"database/creds/{self.name}")

    def tokens(self) -> list[str]:
        """Tokens of the policy, by the server's count."""
        return self.bao.tokens(self.name)


async def until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Waits for a condition that the servers bring about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.01)
