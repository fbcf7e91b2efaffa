"""Names of health conditions: each process lists its own as one enumeration, from which its reference page is made.

A condition's name and reasons are a surface: probes, alerts, runbooks and the console match them as texts. The
enumeration makes a misspelt name a type error, and keeps the meaning beside the name. Reasons are texts, because some
come from an error's own name; the listed ones are the constants, and a test finds each of them in the code.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

# Reason of every condition that holds: readers may compare reasons without looking at `ok` first.
READY = "Ready"
ALIVE = "Alive"
"""Condition by which a producer says that it has to be started anew, though it still sends heartbeats."""


class ConditionName(StrEnum):
    """Base of a process's condition names: `NAME = text, meaning, reason, ...`.

    A member is its own text, so it is shown, compared and encoded like one.
    """

    meaning: str
    """States of the process in which the condition holds, as the reference page says it."""
    reasons: tuple[str, ...]
    """Constant reasons for which it does not hold."""

    def __new__(cls, name: str, meaning: str, *reasons: str) -> Self:
        """Make the member whose text is `name`."""
        member = str.__new__(cls, name)
        member._value_ = name  # or the value would be the whole tuple, in every JSON
        member.meaning = meaning
        member.reasons = reasons
        return member
