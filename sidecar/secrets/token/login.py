"""Logging in: kubernetes, jwt, approle (secret id plain or wrapped) or a token from a file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pod_runtime.secret import Secret
from sidecar.secrets.settings import AuthSettings
from sidecar.secrets.token.approle import SecretIds, spent
from sidecar.secrets.token.credential import LoginError, read_credential
from sidecar.secrets.vault.answer import Answer
from sidecar.secrets.vault.client import Caller
from sidecar.secrets.vault.fault import Fault, VaultError


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A token that works, and what is known of its life. `owned` tokens are ours to revoke."""

    token: Secret
    accessor: str
    ttl_s: float
    renewable: bool
    owned: bool = True
    request_id: str = ""
    age_s: float = 0.0
    """Since it was made, by the server's clock; 0 where it is new, or nobody says."""


async def log_in(caller: Caller, auth: AuthSettings, secret_ids: SecretIds) -> Login:
    """Logs in with what the files hold now.

    Raises:
        LoginError: a file is missing or empty.
        SpentError: the secret id, or what wraps it, was used before and works no more.
        VaultError: the server refused, or did not answer.
    """
    match auth.method:
        case "token_file":
            return await _adopt(caller, read_credential(auth.token_file, "secrets.auth.token_file"))
        case "approle":
            return await _by_approle(caller, auth, secret_ids)
        case _:
            body = {"role": auth.role, "jwt": read_credential(auth.jwt_file, "secrets.auth.jwt_file").reveal()}
            return read_login(await caller.call("POST", f"auth/{auth.mount_path}/login", body=body))


async def _by_approle(caller: Caller, auth: AuthSettings, secret_ids: SecretIds) -> Login:
    """A refusal of what has worked before is told apart: asking again cannot help."""
    role_id = read_credential(auth.role_id_file, "secrets.auth.role_id_file")
    secret_id = await secret_ids.plain(caller, auth)
    body = {"role_id": role_id.reveal(), "secret_id": secret_id.reveal()}
    again = secret_ids.sending()
    try:
        return read_login(await caller.call("POST", f"auth/{auth.mount_path}/login", body=body))
    except VaultError as error:
        if again and error.fault is Fault.INVALID:
            raise spent(auth) from None
        if not again and not error.ambiguous:
            secret_ids.unused()
        raise


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


async def resume(caller: Caller, token: Secret) -> Login:
    """A token of ours that lives already.

    Raises:
        VaultError: it lives no more, or the server did not answer.
    """
    return replace(await _adopt(caller, token), owned=True)


async def _adopt(caller: Caller, token: Secret) -> Login:
    answer = await caller.call("GET", "auth/token/lookup-self", token=token)
    return Login(
        token=token,
        accessor=str(answer.data.get("accessor", "")),
        ttl_s=float(answer.data.get("ttl") or 0),
        renewable=bool(answer.data.get("renewable")),
        owned=False,
        request_id=answer.request_id,
        age_s=_age_s(answer),
    )


def _age_s(answer: Answer) -> float:
    made = answer.data.get("creation_time")
    if answer.server_time is None or not made:
        return 0.0
    return max(0.0, answer.server_time.timestamp() - float(made))
