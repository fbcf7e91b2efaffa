"""What a part of the broker says about its own health."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One named statement of health; an advisory one never makes the process not ready."""

    name: str
    ok: bool
    reason: str
    """A constant name, `Ready` where all is well."""
    message: str
    since: datetime
    advisory: bool = False
