"""A fault that somebody can see and mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sidecar.console.doctor.remedy import COMMANDS

Document = dict[str, Any]
"""The status document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault (constant name), what shows it, and what to do; `explains` are faults that follow from it."""

    fault: str
    evidence: str
    next: str
    explains: tuple[str, ...] = ()
    about: str = ""
    """What the command is about, in the place of SUBJECT."""

    @property
    def command(self) -> str:
        """What to type next."""
        return COMMANDS[self.fault].replace("SUBJECT", self.about)

    def json(self) -> Document:
        """As a document."""
        return {"fault": self.fault, "evidence": self.evidence, "next": self.next, "command": self.command}


Check = Callable[[Document], Iterator[Finding]]
