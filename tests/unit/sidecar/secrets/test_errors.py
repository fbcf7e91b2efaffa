"""Errors: their names, and the doubt that they leave."""

from __future__ import annotations

import pytest

from sidecar.secrets.errors import LoginError, SpentError, VaultError, VaultFault


@pytest.mark.parametrize(
    ("fault", "status", "ambiguous"),
    [
        (VaultFault.TIMEOUT, 0, True),
        (VaultFault.CONNECTION, 0, True),
        (VaultFault.PROTOCOL, 200, True),
        (VaultFault.SERVER, 500, True),
        (VaultFault.SERVER, 473, False),
        (VaultFault.SEALED, 503, False),
        (VaultFault.UNREACHABLE, 0, False),
        (VaultFault.DENIED, 403, False),
    ],
)
def test_an_answer_that_may_be_lost_leaves_doubt(fault: VaultFault, status: int, ambiguous: bool) -> None:
    assert VaultError(fault, "GET x", "", status=status).ambiguous is ambiguous


def test_both_answers_to_an_unknown_lease_say_that_it_is_gone() -> None:
    gone = [fault for fault in VaultFault if VaultError(fault, "POST sys/leases/renew", "").gone]
    assert gone == [VaultFault.INVALID, VaultFault.NOT_FOUND]


def test_each_error_has_its_name_and_its_least_wait() -> None:
    assert (LoginError("x").name, LoginError("x").retry_after_s) == ("credential_unreadable", 0.0)
    assert (SpentError("x").name, SpentError("x").retry_after_s) == ("secret_id_spent", 300.0)
    assert VaultError(VaultFault.SEALED, "GET x", "").name == "sealed"
