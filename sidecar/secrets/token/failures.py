"""Token failures: separate back-off for login and upkeep, one shared bound of ten a minute.

They are separate because a login that fails (a used-up secret id) must not hold back the renewals that keep the
living token alive meanwhile.
"""

from __future__ import annotations

from sidecar.secrets.clock import Clock
from sidecar.secrets.errors import SecretsError
from sidecar.secrets.lease.schedule import Act, Failures
from sidecar.secrets.status import LastError


class TokenFailures:
    """Failures of the current token's upkeep, and of logins for its successor."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logins, self._upkeep, self._all = Failures(), Failures(), Failures()
        self._login_error: LastError | None = None
        self._upkeep_error: LastError | None = None
        self._refused = ""

    @property
    def last_error(self) -> LastError | None:
        """The last error without a later success; a login's first."""
        return self._login_error or self._upkeep_error

    def __bool__(self) -> bool:
        return bool(self._logins.in_a_row or self._upkeep.in_a_row)

    def retry_at(self, act: Act) -> float:
        """Return the earliest time of a step of this kind."""
        return max(self._of(act).retry_at(), self._all.room_at())

    def failed(self, act: Act, error: SecretsError, credentials: str) -> None:
        """Count a failure; `credentials` is the fingerprint of the files that a login used."""
        now = self._clock.boot()
        self._of(act).failed(now, self._clock.chance(), error.retry_after_s)
        self._all.failed(now, 0.0)
        if act is Act.LOGIN:
            self._login_error, self._refused = LastError.of(error, self._clock.wall()), credentials
        else:
            self._upkeep_error = LastError.of(error, self._clock.wall())

    def succeeded(self, act: Act) -> None:
        """Count a success; a login's ends all failures."""
        self._of(act).succeeded()
        self._upkeep_error = None
        if act is Act.LOGIN:
            self._login_error = None
            self._upkeep.succeeded()

    def token_lost(self) -> None:
        """End the failures of upkeep: the check that found the token dead is no reason to delay the login."""
        self._upkeep.succeeded()

    def credentials_changed(self, credentials: str) -> bool:
        """Return True, once, if failed logins used other credentials: waiting is for those that were refused."""
        if not self._logins.in_a_row or credentials == self._refused:
            return False
        self._logins.succeeded()
        return True

    def _of(self, act: Act) -> Failures:
        return self._logins if act is Act.LOGIN else self._upkeep
