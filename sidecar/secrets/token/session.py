"""A token of this process, and how it fares."""

from __future__ import annotations

from dataclasses import dataclass, field

from pod_runtime.secret import Secret
from sidecar.secrets.lease.schedule import Failures, Life
from sidecar.secrets.token.login import Login


@dataclass(slots=True, kw_only=True)
class Session:
    """A token of this process."""

    number: int
    login: Login
    life: Life
    checked: float
    tainted: bool = False
    failures: Failures = field(default_factory=Failures)

    @property
    def token(self) -> Secret:
        """Its token."""
        return self.login.token
