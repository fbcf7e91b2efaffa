"""Walks: one call of another library's to the simulated venue each, found by the endpoint that it calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

Step = Callable[[Any], Any]


@dataclass(slots=True)
class Walks:
    """Steps by the endpoints that they call; `absent` names those that the venue does not serve, with the reason."""

    absent: dict[Any, str]
    steps: list[tuple[Any, Step]] = field(default_factory=list)

    def of(self, *endpoints: Any) -> Callable[[Step], Step]:
        """Enter a step for the endpoints that it calls."""

        def enter(step: Step) -> Step:
            self.steps.extend((endpoint, step) for endpoint in endpoints)
            return step

        return enter

    @property
    def each(self) -> pytest.MarkDecorator:
        """Parametrize a test by every step, once."""
        steps = {step.__name__: step for _, step in self.steps}
        return pytest.mark.parametrize("step", steps.values(), ids=steps)

    def missing(self, offered: set[Any]) -> set[Any]:
        """Offered endpoints that no step calls and nobody has excused, and excuses for what is not offered."""
        return offered ^ ({endpoint for endpoint, _ in self.steps} | set(self.absent))


@contextmanager
def closing(*sessions: Any) -> Iterator[None]:
    """Close a client's sessions: the libraries leave them open."""
    try:
        yield
    finally:
        for session in sessions:
            session.close()
