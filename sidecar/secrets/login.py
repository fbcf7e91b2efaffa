"""Logging in: kubernetes, jwt, approle (secret id plain or wrapped) or a token from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.secret import Secret
from sidecar.secrets.client import Answer, Caller
from sidecar.secrets.settings import AuthSettings


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
    """Unwraps a wrapped secret id once and keeps it: the wrapping token works a single time."""

    def __init__(self) -> None:
        self._wrapped: Secret | None = None
        self._plain: Secret | None = None

    async def plain(self, caller: Caller, auth: AuthSettings) -> Secret:
        """The secret id to log in with.

        Raises:
            LoginError: the file is missing or empty, or wraps something else.
            VaultError: the server refused to unwrap it.
        """
        given = read_credential(auth.secret_id_file, "secrets.auth.secret_id_file")
        if not auth.secret_id_wrapped:
            return given
        if self._plain is None or given != self._wrapped:
            self._plain = await self._unwrap(caller, auth, given)
            self._wrapped = given
        return self._plain

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
