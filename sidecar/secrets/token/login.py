"""Login to Vault: kubernetes, jwt, approle (secret id plain or wrapped) or a token from a file."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pod_runtime.secret import Secret
from sidecar.secrets.errors import LoginError, VaultError, VaultFault
from sidecar.secrets.settings import AuthSettings
from sidecar.secrets.token.approle import SecretIds, spent
from sidecar.secrets.vault.client import VaultAnswer, VaultCaller
from sidecar.secrets.vault.credential import read_credential


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultLogin:
    """A working token and its life. `owned` tokens are ours to revoke."""

    token: Secret
    accessor: str
    ttl_s: float
    renewable: bool
    owned: bool = True
    request_id: str = ""
    age_s: float = 0.0
    """Age by the server's clock; 0 for a new token, or if the server does not tell."""


async def log_in(caller: VaultCaller, auth: AuthSettings, secret_ids: SecretIds) -> VaultLogin:
    """Log in with the credentials that the files hold now.

    Raises:
        LoginError: a file is missing or empty.
        SpentError: the secret id, or the token that wraps it, was used up before.
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


async def _by_approle(caller: VaultCaller, auth: AuthSettings, secret_ids: SecretIds) -> VaultLogin:
    role_id = read_credential(auth.role_id_file, "secrets.auth.role_id_file")
    secret_id = await secret_ids.plain(caller, auth)
    body = {"role_id": role_id.reveal(), "secret_id": secret_id.reveal()}
    again = secret_ids.sending()
    try:
        return read_login(await caller.call("POST", f"auth/{auth.mount_path}/login", body=body))
    except VaultError as error:
        # A refusal of a secret id that worked before means that it is used up: asking again cannot help.
        if again and error.fault is VaultFault.INVALID:
            raise spent(auth) from None
        if not again and not error.ambiguous:
            secret_ids.unused()
        raise


def read_login(answer: VaultAnswer) -> VaultLogin:
    """Parse the answer to a login.

    Raises:
        LoginError: the answer has no token, for instance because the login wants a second factor.
    """
    if not answer.auth.get("client_token"):
        raise LoginError("the server answered the login without a token; a second factor is not supported")
    return VaultLogin(
        token=Secret(str(answer.auth["client_token"])),
        accessor=str(answer.auth.get("accessor", "")),
        ttl_s=float(answer.auth.get("lease_duration") or 0),
        renewable=bool(answer.auth.get("renewable")),
        request_id=answer.request_id,
    )


async def resume(caller: VaultCaller, token: Secret) -> VaultLogin:
    """Look up a token that a predecessor left to us.

    Raises:
        VaultError: the token is dead, or the server did not answer.
    """
    return replace(await _adopt(caller, token), owned=True)


async def _adopt(caller: VaultCaller, token: Secret) -> VaultLogin:
    answer = await caller.call("GET", "auth/token/lookup-self", token=token)
    return VaultLogin(
        token=token,
        accessor=str(answer.data.get("accessor", "")),
        ttl_s=float(answer.data.get("ttl") or 0),
        renewable=bool(answer.data.get("renewable")),
        owned=False,
        request_id=answer.request_id,
        age_s=_age_s(answer),
    )


def _age_s(answer: VaultAnswer) -> float:
    # creation_time is by the server's clock, so the server's Date is what it is compared with.
    made = answer.data.get("creation_time")
    if answer.server_time is None or not made:
        return 0.0
    return max(0.0, answer.server_time.timestamp() - float(made))
