"""Refused logins that outlive the process: a sidecar that ends and starts again must not lock its AppRole.

Vault and OpenBao count refused secret ids of a role and lock it for all pods (`sidecar/secrets/errors.py`). The pause
after the refusals that one secret id may cost would be worth nothing if a restart ended it: a pod whose sidecar is
restarted each few seconds would try the same secret id until the lock. `refused-login.json` beside the lease journal,
0600, holds how often which credentials were refused and until when the next attempt waits. It holds no credential.

Its directory is one of memory that ends with the pod, and the pause is by the clock of the boot, which goes on over
restarts of the container. After a boot of the machine that clock is younger than the record; then the pause begins
anew.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pod_runtime.files.atomic_file import replace_file

FILE = "refused-login.json"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLogin:
    """Refusals in a row of the credentials with one fingerprint. Times are seconds of the boot clock."""

    credentials: str
    count: int
    at_s: float
    pause_s: float
    name: str
    """Constant name of the error, and below its message and HTTP status."""
    message: str
    status: int = 0

    def left_s(self, now_s: float) -> float:
        """Seconds until the next attempt; at most the whole pause."""
        return min(self.pause_s, max(0.0, self.at_s + self.pause_s - now_s))


class RefusedLogins:
    """Keeps the last refused login in `place`."""

    def __init__(self, place: Path) -> None:
        self._path = place / FILE

    def keep(self, refused: RefusedLogin) -> None:
        """Write it in place of the one before."""
        # A volume that refuses it costs the next start one attempt, not this one.
        with contextlib.suppress(OSError):
            replace_file(self._path, json.dumps({"version": VERSION, **asdict(refused)}).encode(), mode=0o600)

    def forget(self) -> None:
        """Remove it: a login has succeeded."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def read(self) -> RefusedLogin | None:
        """Return what a predecessor left; None if there is nothing that can be read."""
        try:
            tree = json.loads(self._path.read_bytes())
            if tree.pop("version") != VERSION:
                return None
            return RefusedLogin(
                credentials=str(tree["credentials"]),
                count=int(tree["count"]),
                at_s=float(tree["at_s"]),
                pause_s=float(tree["pause_s"]),
                name=str(tree["name"]),
                message=str(tree["message"]),
                status=int(tree["status"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
