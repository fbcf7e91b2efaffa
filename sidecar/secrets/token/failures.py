"""What goes wrong with the token: logins apart from what keeps it alive, and both within one bound."""

from __future__ import annotations

from sidecar.secrets.clock import Clock
from sidecar.secrets.lease.record import JournalError
from sidecar.secrets.lease.schedule import Act, Failures
from sidecar.secrets.status import Mishap
from sidecar.secrets.token.credential import LoginError, SpentError
from sidecar.secrets.vault.fault import VaultError

SPENT_RETRY_S = 300.0
"""Seconds before what is used up is tried again: its role may have been mended, but that is rare."""
TokenErrors = (VaultError, LoginError, JournalError)
_NAMES: dict[type[Exception], str] = {
    LoginError: "credential_unreadable",
    SpentError: "secret_id_spent",
    JournalError: "lease_journal_unwritable",
}


def name_of(error: Exception) -> str:
    """The constant name of an error of the token."""
    return error.fault.value if isinstance(error, VaultError) else _NAMES[type(error)]


def retry_after_s(error: Exception) -> float:
    """Seconds to wait at least, by what the error says; 0 where it says nothing."""
    if isinstance(error, SpentError):
        return SPENT_RETRY_S
    return error.retry_after_s if isinstance(error, VaultError) else 0.0


class Setbacks:
    """Failures of the current token, and of logins for its successor."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logins, self._upkeep, self._all = Failures(), Failures(), Failures()
        self._login_mishap: Mishap | None = None
        self._upkeep_mishap: Mishap | None = None
        self._refused = ""

    @property
    def mishap(self) -> Mishap | None:
        """The last that was not made good; that of a login first."""
        return self._login_mishap or self._upkeep_mishap

    def __bool__(self) -> bool:
        return bool(self._logins.in_a_row or self._upkeep.in_a_row)

    def held_until(self, act: Act) -> float:
        """When a step of this kind may be taken."""
        return max(self._of(act).retry_at(), self._all.room_at())

    def note(self, act: Act, error: Exception, credentials: str) -> None:
        """Counts a failure; `credentials` is the fingerprint of what a login was tried with."""
        now = self._clock.boot()
        self._of(act).note(now, self._clock.chance(), retry_after_s(error))
        self._all.note(now, 0.0)
        status = error.status if isinstance(error, VaultError) else 0
        mishap = Mishap(name=name_of(error), message=str(error), time=self._clock.wall(), status=status)
        if act is Act.LOGIN:
            self._login_mishap, self._refused = mishap, credentials
        else:
            self._upkeep_mishap = mishap

    def forget(self, act: Act) -> None:
        """Counts a success; that of a login makes all good."""
        self._of(act).forget()
        self._upkeep_mishap = None
        if act is Act.LOGIN:
            self._login_mishap = None
            self._upkeep.forget()

    def lost(self) -> None:
        """The token is gone: the check that found it is no reason to wait with the login."""
        self._upkeep.forget()

    def renewed(self, credentials: str) -> bool:
        """Whether a failed login has other credentials now, and may be tried at once."""
        if not self._logins.in_a_row or credentials == self._refused:
            return False
        self._logins.forget()
        return True

    def _of(self, act: Act) -> Failures:
        return self._logins if act is Act.LOGIN else self._upkeep
