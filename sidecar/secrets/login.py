"""Logging in: kubernetes, jwt, approle (secret id plain or wrapped) or a token from a file."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.atomic_file import replace_file
from runtime.secret import Secret
from sidecar.secrets.client import Answer, Caller
from sidecar.secrets.settings import AuthSettings

OPENED = "secret-id.json"
"""In the directory of the lease journal."""


class LoginError(Exception):
    """There is nothing to log in with; the text names the file and what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A token that works, and what is known of its life. `owned` tokens are ours to revoke."""

    token: Secret
    accessor: str
    ttl_s: float
    renewable: bool
    owned: bool = True
    request_id: str = ""


class SecretIds:
    """Opens a wrapped secret id once and keeps it in `place`, 0600: the wrapping token works a single time.

    A restarted sidecar finds it there as long as the file that it came from is the same.
    """

    def __init__(self, place: Path) -> None:
        self._path = place / OPENED

    async def plain(self, caller: Caller, auth: AuthSettings) -> Secret:
        """The secret id to log in with.

        Raises:
            LoginError: the file is missing or empty, or wraps something else.
            VaultError: the server refused to unwrap it.
        """
        given = read_credential(auth.secret_id_file, "secrets.auth.secret_id_file")
        if not auth.secret_id_wrapped:
            return given
        kept = self._kept(given)
        if kept is None:
            kept = await self._unwrap(caller, auth, given)
            content = {"wrapping": _digest(given), "secret_id": kept.reveal()}
            self._keep(json.dumps(content).encode())
        return kept

    def _keep(self, content: bytes) -> None:
        """A volume that refuses it costs the next restart its login, not this one."""
        with contextlib.suppress(OSError):
            replace_file(self._path, content, mode=0o600)

    def _kept(self, given: Secret) -> Secret | None:
        try:
            content = json.loads(self._path.read_bytes())
            return Secret(content["secret_id"]) if content["wrapping"] == _digest(given) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @staticmethod
    async def _unwrap(caller: Caller, auth: AuthSettings, wrapping: Secret) -> Secret:
        """A token that was wrapped elsewhere was swapped on its way (Vault: response wrapping token validation)."""
        expected = f"auth/{auth.mount_path}/role/"
        found = await caller.call("POST", "sys/wrapping/lookup", body={"token": wrapping.reveal()})
        origin = str(found.data.get("creation_path", ""))
        if not (origin.startswith(expected) and origin.endswith("/secret-id")):
            raise LoginError(
                f"secrets.auth.secret_id_file: the wrapping token was made by {origin!r}, not by approle"
            )
        unwrapped = await caller.call("POST", "sys/wrapping/unwrap", token=wrapping)
        return Secret(str(unwrapped.data["secret_id"]))


def _digest(secret: Secret) -> str:
    return hashlib.sha256(secret.reveal().encode()).hexdigest()


def read_credential(path: Path | None, key: str) -> Secret:
    """The text of a credential's file, without the white space around it.

    Raises:
        LoginError: it cannot be read or is empty.
    """
    try:
        text = Path(path or "").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise LoginError(f"{key}: {path} cannot be read ({reason})") from None
    if not text:
        raise LoginError(f"{key}: {path} is empty")
    return Secret(text)


async def log_in(caller: Caller, auth: AuthSettings, secret_ids: SecretIds) -> Login:
    """Logs in with what the files hold now.

    Raises:
        LoginError: a file is missing or empty.
        VaultError: the server refused, or did not answer.
    """
    if auth.method == "token_file":
        return await _adopt(caller, read_credential(auth.token_file, "secrets.auth.token_file"))
    body = await _proof(caller, auth, secret_ids)
    answer = await caller.call("POST", f"auth/{auth.mount_path}/login", body=body)
    return read_login(answer)


async def _proof(caller: Caller, auth: AuthSettings, secret_ids: SecretIds) -> Mapping[str, Any]:
    if auth.method == "approle":
        role_id = read_credential(auth.role_id_file, "secrets.auth.role_id_file")
        secret_id = await secret_ids.plain(caller, auth)
        return {"role_id": role_id.reveal(), "secret_id": secret_id.reveal()}
    return {"role": auth.role, "jwt": read_credential(auth.jwt_file, "secrets.auth.jwt_file").reveal()}


def read_login(answer: Answer) -> Login:
    """The login that an answer holds.

    Raises:
        LoginError: the answer has no token (a login that wants a second factor, for example).
    """
    if not answer.auth.get("client_token"):
        raise LoginError("the server answered the login without a token; a second factor is not supported")
    return Login(
        token=Secret(str(answer.auth["client_token"])),
        accessor=str(answer.auth.get("accessor", "")),
        ttl_s=float(answer.auth.get("lease_duration") or 0),
        renewable=bool(answer.auth.get("renewable")),
        request_id=answer.request_id,
    )


async def _adopt(caller: Caller, token: Secret) -> Login:
    answer = await caller.call("GET", "auth/token/lookup-self", token=token)
    return Login(
        token=token,
        accessor=str(answer.data.get("accessor", "")),
        ttl_s=float(answer.data.get("ttl") or 0),
        renewable=bool(answer.data.get("renewable")),
        owned=False,
        request_id=answer.request_id,
    )
