"""Secret ids of AppRole: a wrapped one is opened once, and one that was used up is known as that."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pod_runtime.atomic_file import replace_file
from pod_runtime.secret import Secret
from sidecar.secrets.settings import AuthSettings
from sidecar.secrets.token.credential import LoginError, SpentError, digest, read_credential
from sidecar.secrets.vault.client import Caller
from sidecar.secrets.vault.fault import Fault, VaultError

FILE = "secret-id.json"
"""In the directory of the lease journal."""
KEY = "secrets.auth.secret_id_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The last content of the file: its digest, what it wrapped, and whether it was sent to the server."""

    wrapping: str = ""
    secret_id: str = field(default="", repr=False)
    sent: bool = False


class SecretIds:
    """Gives secret ids out, and remembers in `place`, 0600, what a restarted sidecar must know of the last one.

    A wrapping token works a single time, and so does a secret id of a role with `secret_id_num_uses=1`
    (https://openbao.org/docs/auth/approle/).
    """

    def __init__(self, place: Path) -> None:
        self._path = place / FILE
        self._known: _Known | None = None

    async def plain(self, caller: Caller, auth: AuthSettings) -> Secret:
        """The secret id to log in with.

        Raises:
            LoginError: the file is missing or empty, or wraps something else.
            SpentError: what wraps it has been opened before, or has expired.
            VaultError: the server did not unwrap it.
        """
        given = read_credential(auth.secret_id_file, KEY)
        if self._known is None:
            self._known = self._read()
        if self._known.wrapping != digest(given):
            self._known = _Known(wrapping=digest(given))
        if not auth.secret_id_wrapped:
            return given
        if not self._known.secret_id:
            opened = await _unwrap(caller, auth, given)
            self._keep(replace(self._known, secret_id=opened.reveal()))
        return Secret(self._known.secret_id)

    def sending(self) -> bool:
        """Notes that what `plain` gave goes to the server; whether it may have been used there before."""
        known = self._known or _Known()
        self._keep(replace(known, sent=True))
        return known.sent

    def unused(self) -> None:
        """Notes that the server did not take it: what was sent last is as good, or as bad, as before."""
        self._keep(replace(self._known or _Known(), sent=False))

    def _keep(self, known: _Known) -> None:
        """A volume that refuses it costs the next restart its login, not this one."""
        if known != self._known:
            self._known = known
            with contextlib.suppress(OSError):
                replace_file(self._path, json.dumps({"version": 1, **asdict(known)}).encode(), mode=0o600)

    def _read(self) -> _Known:
        try:
            tree = json.loads(self._path.read_bytes())
            return _Known(
                wrapping=str(tree["wrapping"]),
                secret_id=str(tree["secret_id"]),
                sent=bool(tree.get("sent", False)),  # older files say nothing of it
            )
        except (OSError, ValueError, KeyError, TypeError):
            return _Known()


def spent(auth: AuthSettings) -> SpentError:
    """The error of a secret id that worked, and is refused now."""
    what = "a new wrapping token" if auth.secret_id_wrapped else "a new one"
    return SpentError(
        f"{KEY}: the secret id of {auth.secret_id_file} was used before and is refused now: it is used up "
        f"(secret_id_num_uses), has expired or was destroyed; write {what} into the file"
    )


async def _unwrap(caller: Caller, auth: AuthSettings, wrapping: Secret) -> Secret:
    """A token that was wrapped elsewhere was swapped on its way (Vault: response wrapping token validation)."""
    try:
        found = await caller.call("POST", "sys/wrapping/lookup", body={"token": wrapping.reveal()})
    except VaultError as error:
        if error.fault not in {Fault.INVALID, Fault.DENIED, Fault.NOT_FOUND}:
            raise
        raise SpentError(
            f"{KEY}: the wrapping token of {auth.secret_id_file} has expired or was opened before; find out by whom, "
            "and write a new one into the file"
        ) from None
    origin = str(found.data.get("creation_path", ""))
    if not (origin.startswith(f"auth/{auth.mount_path}/role/") and origin.endswith("/secret-id")):
        raise LoginError(f"{KEY}: the wrapping token was made by {origin!r}, not by approle")
    unwrapped = await caller.call("POST", "sys/wrapping/unwrap", token=wrapping)
    return Secret(str(unwrapped.data["secret_id"]))
