"""Configuration of each process of a local stack: the same files that a deployment would mount."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devstack.settings import Place

ACCOUNT = "101-004-1234567-001"
PORTS = {"api": 8080, "probes": 8000, "metrics": 9464, "console": 8090}
Ports = Callable[[str], int]


def simulator_command(port: int, seed: int, token_file: Path) -> list[str]:
    """Arguments that start the simulator."""
    options = ["--port", str(port), "--seed", str(seed), "--token-file", str(token_file), "--account", ACCOUNT]
    return ["-m", "broker.simulator", *options]


def sidecar(place: Place, addresses: Mapping[str, str], otlp_endpoint: str, port: Ports) -> dict[str, Any]:
    """The sidecar's file: AppRole at the embedded Vault, KV only."""
    return {
        "telemetry": {"socket": str(place.socket), "journal_directory": str(place.state / "sidecar" / "journal")},
        "otlp": {"endpoint": otlp_endpoint},
        "secrets": {
            "address": addresses["vault"],
            "directory": str(place.secrets),
            "lease_journal": str(place.leases),
            "require_tmpfs": place.in_memory,
            "auth": {
                "method": "approle",
                "role_id_file": str(place.vault / "role-id"),
                "secret_id_file": str(place.vault / "secret-id"),
            },
            "secrets": [
                {"name": "venue", "source": "kv", "path": "broker/venue", "files": [{"name": "venue.json"}]},
                {"name": "api-keys", "source": "kv", "path": "broker/api-keys", "files": [{"name": "api-keys.json"}]},
            ],
        },
        "health": {"address": f"127.0.0.1:{port('probes')}"},
        "metrics": {"address": f"127.0.0.1:{port('metrics')}"},
        "console": {"address": f"127.0.0.1:{port('console')}"},
    }


def broker(place: Place, addresses: Mapping[str, str], port: Ports) -> dict[str, Any]:
    """The broker's file: the simulator as its venue, SQLite as its history."""
    return {
        "api": {"host": "127.0.0.1", "port": port("api"), "tls": "off"},
        "venue": {
            "rest_url": addresses["simulator"],
            "stream_url": addresses["simulator_stream"],
            "account": ACCOUNT,
            "sampled_instruments": ["EUR_USD", "GBP_USD", "USD_JPY"],
        },
        "orders": {"directory": str(place.state / "broker" / "orders")},
        "telemetry": {"socket": str(place.socket), "spool_directory": str(place.state / "broker" / "spool")},
        "history": {"url": f"sqlite+aiosqlite:///{place.state / 'broker' / 'history.sqlite'}"},
        "credentials": {"directory": str(place.secrets)},
    }
