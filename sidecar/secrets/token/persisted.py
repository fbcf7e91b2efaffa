"""The token of an AppRole login, kept for a restarted sidecar: the secret id that it came from may work no more."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from pod_runtime.atomic_file import replace_file
from pod_runtime.secret import Secret

VERSION = 1
FILE = "token.json"
"""In the directory of the lease journal, which is in memory and closed to everybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A token and the number of its session."""

    number: int
    token: Secret


class KeptToken:
    """Keeps one token in `place`, 0600. A volume that refuses it costs the next restart its login, not this one."""

    def __init__(self, place: Path) -> None:
        self._path = place / FILE

    def keep(self, number: int, token: Secret) -> None:
        """Puts it in the place of the one before."""
        content = {"version": VERSION, "number": number, "token": token.reveal()}
        with contextlib.suppress(OSError):
            replace_file(self._path, json.dumps(content).encode(), mode=0o600)

    def read(self) -> Kept | None:
        """What is kept, if it can be read."""
        try:
            tree = json.loads(self._path.read_bytes())
            if tree["version"] != VERSION:
                return None
            return Kept(number=int(tree["number"]), token=Secret(str(tree["token"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def drop(self, number: int) -> None:
        """Forgets it, if it is of this session."""
        kept = self.read()
        if kept is not None and kept.number == number:
            with contextlib.suppress(OSError):
                self._path.unlink()
