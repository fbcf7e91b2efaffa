"""A real PostgreSQL server for a test: an empty cluster, an ephemeral port, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port
from tests.require import require_binary

PATTERN = "/usr/lib/postgresql/*/bin/{}"
PASSWORD = "postgres-superuser"
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=16MB", "max_connections=200")


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A server that runs on 127.0.0.1; `user` is its superuser, database `postgres` exists."""

    port: int
    socket_directory: Path
    user: str = "postgres"
    password: str = PASSWORD
    database: str = "postgres"

    def url(self, *, driver: str = "postgresql+asyncpg", user: str | None = None, password: str | None = None) -> str:
        """A SQLAlchemy URL over TCP."""
        who = f"{user or self.user}:{password or self.password}"
        return f"{driver}://{who}@127.0.0.1:{self.port}/{self.database}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Starts a server and stops it at the end.

    The cluster lies outside `tmp_path`: PostgreSQL refuses to run as root, and pytest's directories are closed
    to the other user that it then runs as; a Unix socket's path is also limited to 107 bytes.
    """
    binaries = {name: require_binary(name, PATTERN.format(name)) for name in ("initdb", "postgres")}
    place = Path(tempfile.mkdtemp(prefix="pg-"))
    account = _account()
    if account is not None:
        os.chown(place, account.pw_uid, account.pw_gid)
    try:
        _initialise(binaries["initdb"], place, account)
        server, port = _start(binaries["postgres"], place, account)
        try:
            yield Postgres(port=port, socket_directory=place)
        finally:
            server.send_signal(signal.SIGINT)  # fast: SIGTERM would wait for every connection (postgres(1))
            server.wait(20)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _account() -> pwd.struct_passwd | None:
    """The user that the server runs as, if not our own."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else None


def _as(account: pwd.struct_passwd | None) -> dict[str, object]:
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _initialise(initdb: str, place: Path, account: pwd.struct_passwd | None) -> None:
    password_file = place / "password"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o644)
    command = [initdb, "-D", str(place / "data"), "-U", "postgres", "--auth=scram-sha-256", "--no-sync"]
    command += [f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, **_as(account))  # type: ignore[call-overload] # see _as
    assert done.returncode == 0, done.stderr


def _start(binary: str, place: Path, account: pwd.struct_passwd | None) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    options = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={place}", *FAST]
    command = [binary, "-D", str(place / "data"), *(word for option in options for word in ("-c", option))]
    with (place / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, **_as(account))  # type: ignore[call-overload] # see _as
    _wait(server, place, port)
    return server, port


def _wait(server: subprocess.Popen[bytes], place: Path, port: int) -> None:
    """Until the server has written `ready` into its own status line (postmaster.pid, line 8; miscinit.h)."""
    status = place / "data" / "postmaster.pid"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        lines = status.read_text().splitlines() if status.exists() else []
        if len(lines) >= 8 and lines[7].strip() == "ready":
            return
        time.sleep(0.02)
    server.kill()
    raise AssertionError(f"PostgreSQL on port {port} did not start:\n{(place / 'log').read_text()}")
