"""Secrets kept fresh, beside `bao agent`: `python -m bench.secrets`.

Both log in by AppRole to one real server and keep a kv secret and a database credential of a real PostgreSQL in
files; tokens live a minute, kv secrets are looked at every two seconds. Ours is the whole sidecar process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import tomli_w

from broker.config import CredentialSettings
from broker.credentials.proof import CredentialNeeds
from broker.credentials.watcher import CredentialWatcher
from broker.history.database import Database
from broker.history.settings import HistorySettings
from broker.orders.conditions import Conditions
from pod_runtime.secret import Secret
from sidecar.secrets.agent import SecretsAgent
from sidecar.secrets.audit import AuditEvent
from sidecar.secrets.settings import AuthSettings, FileSettings, SecretSettings, SecretsSettings
from tests.openbao import OpenBao, running_openbao
from tests.postgres import Postgres, running_postgres

LIVES = {"token_ttl": "60s", "token_max_ttl": "24h"}
IDLE_S = 10.0
STARTS = 10
CHANGES = 12
ACCOUNT = "101-001-1234567-001"
RULES = """
path "secret/*" { capabilities = ["read"] }
path "database/creds/broker" { capabilities = ["read"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "auth/token/renew-accessor" { capabilities = ["update"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
"""
CREATE = """CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"""
AGENT = """
vault {{ address = "{address}" }}
auto_auth {{
  method "approle" {{
    config = {{
      role_id_file_path = "{place}/role-id"
      secret_id_file_path = "{place}/secret-id"
      remove_secret_id_file_after_reading = false
    }}
  }}
}}
template_config {{ static_secret_render_interval = "2s" }}
template {{
  contents = "{{{{ with secret \\"secret/data/venue\\" }}}}{{{{ .Data.data.token }}}}{{{{ end }}}}"
  destination = "{place}/venue"
}}
template {{
  contents = "{{{{ with secret \\"{creds}\\" }}}}{{{{ .Data.username }}}} {{{{ .Data.password }}}}{{{{ end }}}}"
  destination = "{place}/database"
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A process to start, and the files that it keeps."""

    command: list[str]
    venue: Path
    database: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Measurements, in seconds, bytes and shares of a core."""

    start_s: float
    change_s: float
    revoked_s: float
    resident: int
    private: int
    cpu: float


class Silent:
    """An audit sink that keeps nothing."""

    def add(self, event: AuditEvent) -> None:
        """Take an event."""


def prepare(bao: OpenBao, postgres: Postgres, place: Path) -> None:
    """Roles for both."""
    write(bao, "first")
    bao.approle(place, policy="broker", rules=RULES, **LIVES)
    bao.call("POST", "sys/mounts/database", {"type": "database"})
    url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{postgres.port}/postgres?sslmode=disable"
    config = {"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": url}
    config |= {"username": postgres.user, "password": postgres.password}
    bao.call("POST", "database/config/postgres", config)
    role = {"db_name": "postgres", "creation_statements": [CREATE], "default_ttl": "1h", "max_ttl": "24h"}
    bao.call("POST", "database/roles/broker", role)


def secrets() -> tuple[SecretSettings, ...]:
    """The two."""
    venue = FileSettings(name="venue", format="raw", key="token")
    database = FileSettings(name="database", format="jinja2", template="{{ username }} {{ password }}")
    return (
        SecretSettings(name="venue", source="kv", path="venue", files=(venue,)),
        SecretSettings(name="database", source="leased", path="database/creds/broker", files=(database,)),
    )


def ours(bao: OpenBao, place: Path) -> Contender:
    """The sidecar."""
    auth = {"method": "approle", "role_id_file": f"{place}/role-id", "secret_id_file": f"{place}/secret-id"}
    wanted = [
        {
            "name": item.name,
            "source": item.source,
            "path": item.path,
            "files": [
                {"name": file.name, "format": file.format, "key": file.key, "template": file.template}
                for file in item.files
            ],
        }
        for item in secrets()
    ]
    config = {
        "telemetry": {"socket": f"{place}/run/s", "journal_directory": f"{place}/journal"},
        "otlp": {"endpoint": ""},
        "secrets": {
            "address": bao.address,
            "directory": f"{place}/published",
            "lease_journal": f"{place}/leases",
            "require_tmpfs": False,
            "auth": auth,
            "secrets": wanted,
        },
        "health": {"address": "127.0.0.1:0"},
        "metrics": {"address": "127.0.0.1:0"},
        "console": {"address": "127.0.0.1:0"},
    }
    (place / "run").mkdir(mode=0o700)
    (place / "sidecar.toml").write_text(tomli_w.dumps(config))
    command = [sys.executable, "-m", "sidecar", "--config", str(place / "sidecar.toml")]
    return Contender(command=command, venue=place / "published/venue", database=place / "published/database")


def agent(bao: OpenBao, place: Path) -> Contender:
    """`bao agent` of the same wheel."""
    (place / "agent.hcl").write_text(AGENT.format(address=bao.address, place=place, creds="database/creds/broker"))
    command = [str(Path(sys.executable).with_name("bao")), "agent", f"-config={place / 'agent.hcl'}"]
    return Contender(command=command, venue=place / "venue", database=place / "database")


@contextlib.contextmanager
def running(contender: Contender) -> Iterator[psutil.Process]:
    """The process, until killed."""
    environ = {**os.environ, "PYTHONPATH": ".:proto"}
    child = subprocess.Popen(contender.command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield psutil.Process(child.pid)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def wait(condition: Callable[[], object], limit_s: float = 120.0) -> float:
    """Seconds until it held."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > limit_s:
            raise TimeoutError("it did not happen")
        time.sleep(0.005)
    return time.monotonic() - begun


def write(bao: OpenBao, value: str) -> None:
    bao.write_kv("venue", token=value)


def text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def measure(bao: OpenBao, contender: Contender) -> Figures:
    """One contender, alone on the machine."""
    clear(bao)
    write(bao, "first")
    with running(contender) as process:
        start_s = wait(lambda: text(contender.venue) and text(contender.database))
        time.sleep(2.0)
        resident, private, cpu = idle(process)
        write(bao, "second")
        change_s = wait(lambda: text(contender.venue) == "second")
        before = text(contender.database)
        for accessor in bao.tokens("broker"):
            bao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        revoked_s = wait(lambda: text(contender.database) not in {before, ""})
    return Figures(start_s=start_s, change_s=change_s, revoked_s=revoked_s, resident=resident, private=private, cpu=cpu)


def idle(process: psutil.Process) -> tuple[int, int, float]:
    """Resident bytes, those of them that are no file's, and the share of a core."""
    before = sum(process.cpu_times()[:2])
    time.sleep(IDLE_S)
    memory = process.memory_full_info()
    return memory.rss, memory.uss, (sum(process.cpu_times()[:2]) - before) / IDLE_S


def clear(bao: OpenBao) -> None:
    for accessor in bao.tokens("broker"):
        bao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    wait(lambda: not bao.leases("database/creds/broker"))


async def first_publication_s(bao: OpenBao, place: Path) -> float:
    """Median seconds from the start of a login to a visible set, in a process that runs already."""
    times = []
    for number in range(STARTS):
        settings = SecretsSettings(
            address=bao.address,
            auth=AuthSettings(method="approle", role_id_file=place / "role-id", secret_id_file=place / "secret-id"),
            directory=place / f"set-{number}",
            lease_journal=place / f"leases-{number}",
            require_tmpfs=False,
            secrets=secrets(),
        )
        stop, begun = asyncio.Event(), time.monotonic()
        task = asyncio.create_task(SecretsAgent(settings, audit=Silent()).run(stop))
        while not (settings.directory / "database").exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.001)
        times.append(time.monotonic() - begun)
        stop.set()
        await task
    return statistics.median(times)


class AnyToken:
    """A venue that takes every token at once: what it takes for its answer is its own."""

    async def prove(self, token: Secret) -> None:
        """Takes it."""


@dataclass(frozen=True, slots=True)
class Proved:
    """The broker's word to the agent, without the stream between them."""

    agent: SecretsAgent

    def secrets_applied(self, generation: int) -> None:
        """The generation is in use."""
        self.agent.acknowledgements.applied("broker", generation)

    def secrets_rejected(self, generation: int, secret: str, reason: str, message: str) -> None:
        """The generation is not used."""
        raise AssertionError(f"{secret} of generation {generation}: {reason}: {message}")


async def applied_s(bao: OpenBao, place: Path) -> float:
    """The most seconds of some changes from a write in Vault until the broker uses the new value."""
    venue = SecretSettings(name="venue", source="kv", path="applied", files=(FileSettings(name="venue.json"),))
    settings = SecretsSettings(
        address=bao.address,
        auth=AuthSettings(method="approle", role_id_file=place / "role-id", secret_id_file=place / "secret-id"),
        directory=place / "applied",
        lease_journal=place / "leases-applied",
        require_tmpfs=False,
        secrets=(venue,),
    )
    settings.directory.mkdir()
    first = {"token": "0", "account_id": ACCOUNT}
    bao.write_kv("applied", **first)
    agent, stop = SecretsAgent(settings, audit=Silent()), asyncio.Event()
    credentials = CredentialWatcher(
        CredentialSettings(directory=settings.directory),
        CredentialNeeds(accounts=(ACCOUNT,), needs_tls=False),
        venues=[AnyToken()],
        database=Database(HistorySettings(url=f"sqlite+aiosqlite:///{place / 'history.sqlite'}")),
        tls=None,
        conditions=Conditions(lambda: datetime.now(UTC)),
        emit=lambda _: None,
        announce=Proved(agent),
        clock=lambda: datetime.now(UTC),
    )
    chance, times = random.Random(1), []
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(agent.run(stop))
        following = tasks.create_task(credentials.run())
        for number in range(CHANGES + 1):
            await asyncio.sleep(chance.random() * 2.0)  # anywhere between two looks
            begun = time.monotonic()
            if number:
                await asyncio.to_thread(bao.write_kv, "applied", token=str(number), account_id=ACCOUNT)
            while (held := credentials.token()) is None or held.reveal() != str(number):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.001)
            times.append(time.monotonic() - begun)
        following.cancel()
        stop.set()
    return max(times[1:])


def row(name: str, ours: float, baseline: float | None, unit: str, goal: float | None) -> dict[str, Any]:
    """One row; without a goal it only tells."""
    ratio = None if baseline is None else round(ours / baseline, 3) if baseline else None
    found = {"name": name, "ours": round(ours, 3), "baseline": None if baseline is None else round(baseline, 3)}
    return found | {"unit": unit, "ratio": ratio, "goal": goal, "holds": None if goal is None else ours <= goal}


def rows() -> list[dict[str, Any]]:
    """The table's rows; the goals are absolute, and below the agent's figures."""
    with running_postgres() as postgres, running_openbao() as bao, tempfile.TemporaryDirectory() as name:
        place = Path(name)
        prepare(bao, postgres, place)
        publication = asyncio.run(first_publication_s(bao, place))
        applied = asyncio.run(applied_s(bao, place))
        sidecar = measure(bao, ours(bao, place))
        baseline = measure(bao, agent(bao, place))
    mib = 1 << 20
    return [
        row("secrets_first_publication", publication, None, "s", 0.3),
        row("secrets_process_start_to_files", sidecar.start_s, baseline.start_s, "s", 1.5),
        row("secrets_changed_value", sidecar.change_s, baseline.change_s, "s", 2.5),
        row("secrets_changed_value_applied", applied, None, "s", 2.5),
        row("secrets_revoked_token_replaced", sidecar.revoked_s, baseline.revoked_s, "s", 5.0),
        row("sidecar_idle_resident", sidecar.resident / mib, baseline.resident / mib, "MiB", round(74e6 / mib, 1)),
        row("sidecar_idle_private", sidecar.private / mib, baseline.private / mib, "MiB", None),
        row("sidecar_idle_cpu", sidecar.cpu * 100, baseline.cpu * 100, "% of a core", 2.0),
    ]


if __name__ == "__main__":
    for line in rows():
        print(json.dumps(line))
