"""Errors: their names, and the doubt that they leave."""

from __future__ import annotations

import pytest

from sidecar.secrets.errors import LoginError, SpentError, VaultError, VaultFault


@pytest.mark.parametrize(
    ("fault", "ambiguous"),
    [
        (VaultFault.TIMEOUT, True),
        (VaultFault.CONNECTION, True),
        (VaultFault.PROTOCOL, True),
        (VaultFault.UNREACHABLE, False),
    ],
)
def test_a_request_without_an_answer_leaves_doubt_unless_it_never_left(fault: VaultFault, ambiguous: bool) -> None:
    assert VaultError(fault, "GET x", "").ambiguous is ambiguous


def test_each_error_has_its_name_and_its_least_wait() -> None:
    assert (LoginError("x").name, LoginError("x").retry_after_s) == ("credential_unreadable", 0.0)
    assert (SpentError("x").name, SpentError("x").retry_after_s) == ("secret_id_spent", 900.0)
    assert VaultError(VaultFault.SEALED, "GET x", "").name == "sealed"
