"""Faults that the simulated venue shows: once, so many times, or with a chance.

A fault names what it does to which requests. It comes with a request (`X-Simulate-Fault: reset_after`), through
`POST /simulator/faults`, or from a schedule file. Rules are tried in order; the first that matches is used up.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

KINDS = {
    "delay": "answers after `seconds`",
    "hang": "applies the request and never answers",
    "reset_before": "closes the connection before the request has any effect",
    "reset_after": "applies the request, then closes the connection",
    "half_body": "applies the request and sends half of the answer",
    "error_before": "answers `status` without applying the request",
    "error_after": "applies the request and answers `status`",
    "html": "answers 503 with a page of HTML, nothing applied",
    "unauthorized": "answers 401 as for a revoked token",
    "rate_limited": "answers 429, nothing applied",
    "lag": "shows `sinceid` and `idrange` without what is younger than `seconds`",
    "stream_cut": "closes streams, in the middle of a line where there is one",
    "stream_stall": "sends nothing on streams, not even heartbeats, for `seconds`",
    "unknown_value": "adds fields and values that no schema names",
}


class FaultError(ValueError):
    """A rule that cannot be used; the text says what is wrong."""


@dataclass(slots=True, kw_only=True)
class Rule:
    """One fault: `count` times (-1 without end), each with `chance`, on requests whose method and path fit."""

    kind: str
    method: str = ""
    path: str = ""
    """Part of the path; empty is every one."""
    count: int = 1
    chance: float = 1.0
    seconds: float = 0.0
    status: int = 500

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FaultError(f"fault {self.kind!r} is not one of {', '.join(KINDS)}")

    def fits(self, method: str, path: str) -> bool:
        """Whether it concerns a request."""
        return self.count != 0 and self.method in ("", method) and self.path in path


def rule(raw: dict[str, Any]) -> Rule:
    """A rule from JSON.

    Raises:
        FaultError: an unknown kind or field.
    """
    try:
        return Rule(**raw)
    except TypeError as error:
        raise FaultError(str(error).partition("() ")[2]) from error


@dataclass(slots=True)
class Faults:
    """The rules in force, and how often each kind was used."""

    chance: random.Random
    rules: list[Rule] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)

    def take(
        self, method: str, path: str, header: str | None = None, *, kinds: frozenset[str] | None = None
    ) -> Rule | None:
        """The fault for a request, used up by asking; `kinds` narrows to those that the caller can show."""
        if header:
            return self._use(Rule(kind=header.partition("=")[0], seconds=float(header.partition("=")[2] or 0)))
        for item in self.rules:
            if (
                (kinds is None or item.kind in kinds)
                and item.fits(method, path)
                and self.chance.random() < item.chance
            ):
                item.count -= 1 if item.count > 0 else 0
                return self._use(item)
        return None

    def _use(self, item: Rule) -> Rule:
        self.used[item.kind] = self.used.get(item.kind, 0) + 1
        return item


STREAM_KINDS = frozenset({"stream_cut", "stream_stall"})
REQUEST_KINDS = frozenset(KINDS) - STREAM_KINDS
