"""The configuration files of a stack on one machine: loopback addresses, embedded defaults."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pod_runtime.atomic_file import replace_file

MEMORY = Path("/dev/shm")  # noqa: S108 - the tmpfs that POSIX systems have; secrets belong in memory
Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Places of a stack's files: `state` on disk, `memory` on a tmpfs where the machine has one."""

    state: Path
    memory: Path
    in_memory: bool
    """True if `memory` is on a tmpfs."""

    @property
    def secrets(self) -> Path:
        """The volume that the sidecar writes and the broker reads."""
        return self.memory / "secrets"

    @property
    def leases(self) -> Path:
        """The sidecar's lease journal, which the broker never sees."""
        return self.memory / "leases"

    @property
    def socket(self) -> Path:
        """The telemetry socket, in a directory of the owner's."""
        return self.state / "telemetry" / "telemetry.sock"

    @property
    def vault(self) -> Path:
        """Files that the set-up of Vault hands to the sidecar."""
        return self.state / "vault"

    def make(self) -> None:
        """Makes the directories, for the owner only."""
        for path in (
            self.socket.parent,
            self.vault,
            self.state / "broker",
            self.state / "sidecar",
            self.secrets,
            self.leases,
        ):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def temporary_place() -> Iterator[Place]:
    """A place that goes with the block, unless the block fails: then the state, logs included, is kept.

    Short names: a Unix socket's path has at most 107 bytes (unix(7)).
    """
    state = Path(tempfile.mkdtemp(prefix="broker-sidecar-"))
    in_memory = MEMORY.is_dir()
    memory = Path(tempfile.mkdtemp(prefix="broker-sidecar-", dir=MEMORY)) if in_memory else state / "memory"
    place = Place(state=state, memory=memory, in_memory=in_memory)
    place.make()
    try:
        yield place
    finally:
        shutil.rmtree(memory, ignore_errors=True)
    shutil.rmtree(state, ignore_errors=True)


def toml(table: Table, prefix: str = "") -> str:
    """A table as TOML: scalars and arrays first, then tables and arrays of tables."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not _is_nested(value)]
    parts = ["\n".join(plain)] if plain else []
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            parts.append(f"[{name}]\n{toml(value, name + '.')}")
        elif _is_nested(value):
            parts.extend(f"[[{name}]]\n{toml(item, name + '.')}" for item in value)
    return "\n\n".join(parts)


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], Mapping)
    )


def write(path: Path, table: Table) -> Path:
    """Writes a configuration file; its path."""
    replace_file(path, (toml(table) + "\n").encode(), durable=False)
    return path
