"""Login to Vault: kubernetes, jwt, approle (secret id plain or wrapped) or a token from a file.

A wrapping token works a single time, and so does a secret id of an AppRole with `secret_id_num_uses=1`
(https://openbao.org/docs/auth/approle/). A restarted sidecar must therefore remember what it unwrapped and sent:
`secret-id.json` beside the lease journal, 0600, holds that. With it `SecretIds` unwraps a secret id once, and tells
a used-up one from one that was never right.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pod_runtime.atomic_file import replace_file
from pod_runtime.secret import Secret
from sidecar.secrets.errors import LockedError, LoginError, SpentError, VaultError, VaultFault
from sidecar.secrets.settings import AuthSettings
from sidecar.secrets.vault.answers import Asked, Deed, deed_of
from sidecar.secrets.vault.client import VaultAnswer, VaultCaller
from sidecar.secrets.vault.credential import digest, read_credential

FILE = "secret-id.json"
KEY = "secrets.auth.secret_id_file"


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
    uses: int = 0
    """Number of requests that it is good for; 0: any."""


async def log_in(caller: VaultCaller, auth: AuthSettings, secret_ids: SecretIds) -> VaultLogin:
    """Log in with the credentials that the files hold now; a secret id that was used up raises SpentError."""
    match auth.method:
        case "token_file":
            return await adopt(caller, read_credential(auth.token_file, "secrets.auth.token_file"), owned=False)
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
        if again and error.fault is VaultFault.INVALID and deed_of(error, Asked.LOGIN) is Deed.WAIT:
            raise _spent(auth) from None
        if not again and not error.ambiguous:
            secret_ids.unused()
        if error.fault is VaultFault.DENIED:
            raise LockedError(
                f"POST auth/{auth.mount_path}/login: denied; after five refused secret ids, of any pod, the server "
                "locks the role for 15 min: sys/locked-users names it"
            ) from None
        raise


def read_login(answer: VaultAnswer) -> VaultLogin:
    """Parse the answer to a login; LoginError if it has no token, for instance because of a second factor."""
    if not answer.auth.get("client_token"):
        raise LoginError("the server answered the login without a token; a second factor is not supported")
    return VaultLogin(
        token=Secret(str(answer.auth["client_token"])),
        accessor=str(answer.auth.get("accessor", "")),
        ttl_s=float(answer.auth.get("lease_duration") or 0),
        renewable=bool(answer.auth.get("renewable")),
        request_id=answer.request_id,
        uses=int(answer.auth.get("num_uses") or 0),
    )


async def adopt(caller: VaultCaller, token: Secret, *, owned: bool) -> VaultLogin:
    """Look up a token that was given or left to us; VaultError if it is dead or the server did not answer."""
    answer = await caller.call("GET", "auth/token/lookup-self", token=token)
    made = answer.data.get("creation_time")  # by the server's clock, so the server's Date is what it is compared with
    return VaultLogin(
        token=token,
        accessor=str(answer.data.get("accessor", "")),
        ttl_s=float(answer.data.get("ttl") or 0),
        renewable=bool(answer.data.get("renewable")),
        owned=owned,
        request_id=answer.request_id,
        uses=int(answer.data.get("num_uses") or 0),
        age_s=max(0.0, answer.server_time.timestamp() - float(made)) if answer.server_time and made else 0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _LastSecretId:
    """Last content of the file: its digest, the secret id it wrapped, and `sent` once the server may have it."""

    wrapping: str = ""
    secret_id: str = field(default="", repr=False)
    sent: bool = False


class SecretIds:
    """Reads secret ids from their file and remembers the last one in `place`."""

    def __init__(self, place: Path) -> None:
        self._path = place / FILE
        self._known: _LastSecretId | None = None

    async def plain(self, caller: VaultCaller, auth: AuthSettings) -> Secret:
        """Return the secret id to log in with; a wrapping token that was opened before raises SpentError."""
        given = read_credential(auth.secret_id_file, KEY)
        if self._known is None:
            self._known = self._read()
        if self._known.wrapping != digest(given):
            self._known = _LastSecretId(wrapping=digest(given))
        if not auth.secret_id_wrapped:
            return given
        if not self._known.secret_id:
            opened = await _unwrap(caller, auth, given)
            self._keep(replace(self._known, secret_id=opened.reveal()))
        return Secret(self._known.secret_id)

    def sending(self) -> bool:
        """Note that the secret id goes to the server. Returns True if the server may have seen it before."""
        # Noted before the request: its answer may be lost after the server has counted the use.
        known = self._known or _LastSecretId()
        self._keep(replace(known, sent=True))
        return known.sent

    def unused(self) -> None:
        """Note that the server did not take the secret id: it may be as good as before."""
        self._keep(replace(self._known or _LastSecretId(), sent=False))

    def _keep(self, known: _LastSecretId) -> None:
        if known != self._known:
            self._known = known
            # A volume that refuses it costs the next start its login, not this one.
            with contextlib.suppress(OSError):
                replace_file(self._path, json.dumps({"version": 1, **asdict(known)}).encode(), mode=0o600)

    def _read(self) -> _LastSecretId:
        try:
            tree = json.loads(self._path.read_bytes())
            return _LastSecretId(
                wrapping=str(tree["wrapping"]),
                secret_id=str(tree["secret_id"]),
                sent=bool(tree.get("sent", False)),  # older files have no such field
            )
        except (OSError, ValueError, KeyError, TypeError):
            return _LastSecretId()


def _spent(auth: AuthSettings) -> SpentError:
    what = "a new wrapping token" if auth.secret_id_wrapped else "a new one"
    return SpentError(
        f"{KEY}: the secret id of {auth.secret_id_file} was used before and is refused now: it is used up "
        f"(secret_id_num_uses), has expired or was destroyed; write {what} into the file"
    )


async def _unwrap(caller: VaultCaller, auth: AuthSettings, wrapping: Secret) -> Secret:
    try:
        found = await caller.call("POST", "sys/wrapping/lookup", body={"token": wrapping.reveal()})
    except VaultError as error:
        if deed_of(error, Asked.LOGIN) is not Deed.WAIT:
            raise
        raise SpentError(
            f"{KEY}: the wrapping token of {auth.secret_id_file} has expired or was opened before; find out by whom, "
            "and write a new one into the file"
        ) from None
    # A token that another path wrapped was swapped on its way (Vault docs: response wrapping token validation).
    origin = str(found.data.get("creation_path", ""))
    if not (origin.startswith(f"auth/{auth.mount_path}/role/") and origin.endswith("/secret-id")):
        raise LoginError(f"{KEY}: the wrapping token was made by {origin!r}, not by approle")
    unwrapped = await caller.call("POST", "sys/wrapping/unwrap", token=wrapping)
    return Secret(str(unwrapped.data["secret_id"]))
