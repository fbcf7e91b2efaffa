"""Settings of the history database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pod_runtime.config import setting

DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySettings:
    """The database that keeps orders, fills and transactions for queries."""

    url: str = setting(
        "sqlite+aiosqlite:////var/lib/broker/history.sqlite",
        doc="SQLAlchemy URL, sqlite+aiosqlite:///PATH or postgresql+asyncpg://HOST:PORT/DATABASE; never a password: "
        "user and password come from database.json of the secret volume",
    )
    role: str = setting(
        "", doc="PostgreSQL role to act as, so that tables of short-lived users have one owner; empty is the user"
    )
    ca_file: Path | None = setting(
        None,
        doc="certificates that the PostgreSQL server's is checked against; none: no TLS, even where the server "
        "offers it. PGSSLMODE and other variables of PostgreSQL's programs count for nothing",
    )
    pool_size: int = setting(4, minimum=1, maximum=100, doc="connections; one writes, the others answer queries")
    deadline_s: float = setting(5.0, minimum=0.1, doc="seconds until a statement or a connection is given up")
    batch_rows: int = setting(500, minimum=1, maximum=10_000, doc="changes in one transaction")
    batch_delay_s: float = setting(
        0.1, minimum=0, doc="seconds between transactions; the history lags behind the orders by that much"
    )
    drain_s: float = setting(5.0, minimum=0, doc="seconds to write the backlog at exit; the journal keeps the rest")
    export_rows: int = setting(1_000_000, minimum=1, doc="rows of one export")
    exports: int = setting(4, minimum=1, doc="exports at once; one as Parquet takes some megabytes until its end")

    def __post_init__(self) -> None:
        url = urlsplit(self.url)  # SQLAlchemy's own reading takes 0.4 s of import that `--check-config` need not pay
        if url.scheme not in DRIVERS:
            raise ValueError(f"url must start with one of {', '.join(name + '://' for name in DRIVERS)}")
        if url.username is not None or url.password is not None:
            raise ValueError("url has a user or password; they belong in database.json of the secret volume")
        if not url.path.strip("/"):
            raise ValueError("url names no database, for example sqlite+aiosqlite:///history.sqlite")
