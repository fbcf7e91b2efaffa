"""A secret volume as the sidecar publishes it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

ACCOUNT = "101-004-1234567-001"
KEYS = {"flow": "key-of-flow", "auditor": "key-of-auditor", "boss": "key-of-boss"}
SCOPES = {"flow": ["read", "trade"], "auditor": ["read"], "boss": ["read", "trade", "admin"]}


def venue_file(token: str = "token-1", account: str | None = ACCOUNT) -> dict[str, Any]:
    return {"token": token} | ({"account_id": account} if account else {})


def keys_file(names: tuple[str, ...] = ("flow", "auditor", "boss")) -> dict[str, Any]:
    return {
        "keys": [
            {"id": name, "sha256": sha256(KEYS[name].encode()).hexdigest(), "scopes": SCOPES[name]} for name in names
        ]
    }


def usual_files() -> dict[str, Any]:
    return {"venue.json": venue_file(), "api-keys.json": keys_file()}


def publish(directory: Path, generation: int, files: dict[str, Any], *, manifest: str | None = None) -> Path:
    """Writes a generation and swaps `..data` to it."""
    folder = directory / f"..{generation}-x{len(list(directory.glob('..*')))}"
    folder.mkdir(parents=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / name).write_bytes(data)
    names = {name: name.split(".", maxsplit=1)[0] for name in files}
    secrets = {names[name]: {"source": "kv", "version": 1, "expires_at": None, "files": [name]} for name in files}
    table = {"version": 1, "generation": generation, "published_at": "2026-01-05T10:00:00Z", "secrets": secrets}
    (folder / "manifest.json").write_text(manifest if manifest is not None else json.dumps(table))
    link = directory / "..new"
    link.symlink_to(folder.name)
    link.rename(directory / "..data")
    return folder
