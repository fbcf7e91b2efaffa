"""Faults that the doctor knows: one table of their meaning, the remedy and the command to type next.

The page, `sidecar doctor` and docs/console.md say the same because all of them have it from the table, `faults.toml`.
SUBJECT stands for the thing that a finding is about; other words in capitals are the reader's own. `bao` becomes
`vault` where the reader or the server has that: both take the same words. On one machine, commands do without the part
before `--`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec


class KnownFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Row of the table; its key is the name, a constant for programs."""

    meaning: str
    next: str
    """Remedy, for people."""
    command: str
    """Command that shows more of it, or mends it."""
    errors: tuple[str, ...] = ()
    """Names by which the secrets agent reports it."""
    explains: tuple[str, ...] = ()
    """Faults that follow from this one: they are not told beside it."""


FAULTS: Mapping[str, KnownFault] = msgspec.toml.decode(
    Path(__file__).with_name("faults.toml").read_bytes(), type=dict[str, KnownFault]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Fault that a status document shows, with the evidence."""

    fault: str
    """Key of `FAULTS`."""
    evidence: str
    subject: str = ""
    cli: str = "bao"
    """Command of Vault in the texts: `bao` or `vault`."""

    @property
    def next(self) -> str:
        """Remedy, with the subject in it."""
        return self._told(FAULTS[self.fault].next)

    @property
    def command(self) -> str:
        """Command to type next, with the subject in it."""
        return self._told(FAULTS[self.fault].command)

    def _told(self, text: str) -> str:
        return re.sub(r"\bbao\b", self.cli, text).replace("SUBJECT", self.subject)

    def json(self) -> dict[str, str]:
        """Convert to the JSON of the status document and of `sidecar doctor --json`."""
        return {"fault": self.fault, "evidence": self.evidence, "next": self.next, "command": self.command}
