"""An embedded Vault-compatible server: OpenBao's development mode, from its wheel."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from devstack.process import Child, ProcessError, start
from pod_runtime.atomic_file import replace_file

POLICY = """
path "secret/data/broker/*"     { capabilities = ["read"] }
path "secret/metadata/broker/*" { capabilities = ["read"] }
path "database/creds/broker"    { capabilities = ["read"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "auth/token/renew-accessor" { capabilities = ["update"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "sys/leases/lookup"        { capabilities = ["update"] }
path "sys/leases/renew"         { capabilities = ["update"] }
path "sys/leases/revoke"        { capabilities = ["update"] }
path "sys/leases/lookup"        { capabilities = ["update"] }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """A server that runs, and the root token that only the set-up uses."""

    address: str
    root_token: str

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request of the HTTP API as root; the answer's JSON, or {}.

        Raises:
            ProcessError: the server refused it.
        """
        timeout = aiohttp.ClientTimeout(total=10)
        async with (
            aiohttp.ClientSession(timeout=timeout, headers={"X-Vault-Token": self.root_token}) as session,
            session.request(method, f"{self.address}/v1/{path}", json=body) as answer,
        ):
            text = await answer.text()
            if answer.status >= 400:  # noqa: PLR2004 - the first status of HTTP's client errors
                raise ProcessError(f"the embedded Vault refused {method} {path}: {answer.status} {text}")
            return dict(json.loads(text)) if text else {}


async def start_vault(port: int, directory: Path, environ: Mapping[str, str]) -> tuple[Child, Vault]:
    """Starts the server on `port` with a random root token and waits until it answers.

    Raises:
        ProcessError: it did not come up within ten seconds.
    """
    token = secrets.token_urlsafe(24)
    address = f"127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("bao")), "server", "-dev", "-dev-no-store-token"]
    child = await start(
        "vault",
        [*command, f"-dev-listen-address={address}"],
        directory=directory,
        environ={**environ, "BAO_DEV_ROOT_TOKEN_ID": token},
    )
    vault = Vault(address=f"http://{address}", root_token=token)
    await _wait_until_unsealed(child, vault)
    return child, vault


async def _wait_until_unsealed(child: Child, vault: Vault) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + 10
    while loop.time() < end:
        child.check()
        try:
            await vault.call("GET", "sys/health")
        except (aiohttp.ClientError, ProcessError):
            await asyncio.sleep(0.05)
        else:
            return
    raise ProcessError(f"the embedded Vault did not come up:\n{child.last_lines()}")


async def set_up(vault: Vault, directory: Path, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes `values` (KV path below secret/broker → data), the policy and an AppRole.

    The role's ids land in `directory`/role-id and secret-id, readable by the owner only.
    """
    for name, data in values.items():
        await vault.call("POST", f"secret/data/broker/{name}", {"data": data})
    await vault.call("PUT", "sys/policies/acl/broker", {"policy": POLICY})
    await vault.call("POST", "sys/auth/approle", {"type": "approle"})
    role = {"token_policies": "broker", "token_ttl": "20m", "token_max_ttl": "24h"}
    await vault.call("POST", "auth/approle/role/broker", role)
    role_id = await vault.call("GET", "auth/approle/role/broker/role-id")
    secret_id = await vault.call("POST", "auth/approle/role/broker/secret-id", {})
    replace_file(directory / "role-id", role_id["data"]["role_id"].encode())
    replace_file(directory / "secret-id", secret_id["data"]["secret_id"].encode())


def api_keys(keys: Mapping[str, tuple[str, list[str]]]) -> dict[str, Any]:
    """The API key file's content: key id → (key, scopes), the keys as SHA-256 only."""
    return {
        "keys": [
            {"id": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "scopes": scopes}
            for name, (key, scopes) in keys.items()
        ]
    }
