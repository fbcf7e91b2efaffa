"""Faults that the simulated venue shows: once, several times, with a chance, or at a time.

A rule names a kind of fault and the requests that it concerns. It comes with a request (`X-Simulate-Fault:
error_after; status=502`), through `POST /simulator/faults`, or from a schedule file. Rules are tried in order; the
first that fits is used up.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

KINDS = {
    "delay": "answers after `seconds`",
    "hang": "applies the request and never answers",
    "reset_before": "closes the connection before the request has any effect",
    "reset_after": "applies the request, then closes the connection",
    "half_body": "applies the request and sends half of the answer",
    "error_before": "answers `status` (500) without applying the request",
    "error_after": "applies the request and answers `status` (500)",
    "html": "answers 503 with a page of HTML, nothing applied",
    "unauthorized": "answers 401 as for a revoked token, nothing applied",
    "rate_limited": "answers 429, nothing applied",
    "lag": "shows a reader the log without what is younger than `seconds`",
    "stream_cut": "closes streams in the middle of a line",
    "stream_garbage": "sends half a line on streams as if it were a whole one",
    "stream_stall": "sends nothing on streams, not even heartbeats, for `seconds`",
    "unknown_value": "adds fields and reasons that no schema names",
}
STREAM_KINDS = frozenset({"stream_cut", "stream_garbage", "stream_stall"})
REQUEST_KINDS = frozenset(KINDS) - STREAM_KINDS


class FaultError(ValueError):
    """A rule that cannot be used; the text names its fault."""


@dataclass(slots=True, kw_only=True)
class FaultRule:
    """One fault: `count` times (-1 without end), each with `chance`, on requests whose method and path fit."""

    kind: str
    method: str = ""
    path: str = ""
    """Part of the path; empty is every path."""
    count: int = 1
    chance: float = 1.0
    seconds: float = 0.0
    status: int = 0
    """0 is the kind's own."""
    after_s: float = 0.0
    """Seconds that the venue has run at least: a schedule is a list of rules with times."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FaultError(f"fault {self.kind!r} is not one of {', '.join(KINDS)}")
        for name in ("count", "chance", "seconds", "status", "after_s"):
            value = getattr(self, name)
            # A bool is an int in Python, and `{"count": true}` is a mistake.
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise FaultError(f"{name} must be a number, not {type(value).__name__}")
        if self.status and not 400 <= self.status <= 599:  # noqa: PLR2004 - the statuses of errors
            raise FaultError("status must be 400 to 599")

    def fits(self, method: str, path: str) -> bool:
        """True if the rule concerns a request."""
        return self.count != 0 and self.method in ("", method) and self.path in path


_NAMES = tuple(item.name for item in fields(FaultRule))
# A header concerns its own request: where, when and how often are settled.
_NUMBERS: dict[str, Callable[[str], Any]] = {"seconds": float, "chance": float, "status": int}


def parse_rule(raw: Any) -> FaultRule:
    """Make a rule of JSON. Raises FaultError: an unknown kind or field, or a value of the wrong type."""
    if not isinstance(raw, dict) or not isinstance(raw.get("kind"), str):
        raise FaultError(f"a fault is an object with a kind, one of {', '.join(KINDS)}")
    if unknown := set(raw) - set(_NAMES):
        raise FaultError(f"{', '.join(sorted(unknown))}: not known here; the fields are {', '.join(_NAMES)}")
    return FaultRule(**raw)


def header_rule(text: str) -> FaultRule:
    """Make a rule of a header: `kind; seconds=1.5; status=502`. Raises FaultError: it is none."""
    kind, *options = (part.strip() for part in text.split(";"))
    raw: dict[str, Any] = {"kind": kind}
    for option in options:
        name, _, value = option.partition("=")
        try:
            raw[name] = _NUMBERS[name](value)
        except (KeyError, ValueError):
            raise FaultError(f"{option!r}: wanted seconds=, chance= or status= and a number") from None
    return parse_rule(raw)


@dataclass(slots=True)
class FaultRules:
    """The rules in force, and the number of uses of each kind."""

    chance: random.Random
    elapsed_s: Callable[[], float] = lambda: 0.0
    rules: list[FaultRule] = field(default_factory=list)
    used: dict[str, int] = field(default_factory=dict)

    def take(self, method: str, path: str, *, kinds: frozenset[str]) -> FaultRule | None:
        """Take the fault for a request, and use it up; `kinds` are those that the caller can show."""
        for item in self.rules:
            if item.kind not in kinds or not item.fits(method, path) or item.after_s > self.elapsed_s():
                continue
            # Drawn for a rule that fits only: the same seed and the same requests give the same faults.
            if self.chance.random() < item.chance:
                item.count -= 1 if item.count > 0 else 0
                return self.use(item)
        return None

    def use(self, item: FaultRule) -> FaultRule:
        """Count a fault that is shown."""
        self.used[item.kind] = self.used.get(item.kind, 0) + 1
        return item
