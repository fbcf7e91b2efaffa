"""Secret ids that were used up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pod_runtime.secret import Secret
from sidecar.secrets.errors import SpentError, VaultError, VaultFault
from sidecar.secrets.settings import AuthSettings
from sidecar.secrets.token.approle import SecretIds
from sidecar.secrets.token.login import VaultLogin, log_in
from sidecar.secrets.vault.client import VaultAnswer
from tests.unit.sidecar.secrets.fake_vault import failure

TOKEN = VaultAnswer(status=200, auth={"client_token": "t", "accessor": "a", "lease_duration": 60, "renewable": True})
WRAPPED = VaultAnswer(status=200, data={"creation_path": "auth/approle/role/broker/secret-id"})
OPENED = VaultAnswer(status=200, data={"secret_id": "inner"})
LOST = VaultError(VaultFault.TIMEOUT, "POST auth/approle/login", "no answer in time")
REFUSED = failure(400, "POST auth/approle/login")
Result = VaultAnswer | VaultError


class Server:
    """Gives its results one after another."""

    def __init__(self, *results: Result) -> None:
        self._results: Iterator[Result] = iter(results)

    async def call(
        self, method: str, path: str, *, token: Secret | None = None, body: Mapping[str, Any] | None = None
    ) -> VaultAnswer:
        result = next(self._results)
        if isinstance(result, VaultError):
            raise result
        return result


@pytest.fixture
def approle(tmp_path: Path) -> Callable[..., AuthSettings]:
    (tmp_path / "role").write_text("r")
    (tmp_path / "secret").write_text("s")

    def make(**changes: Any) -> AuthSettings:
        files: dict[str, Any] = {"role_id_file": tmp_path / "role", "secret_id_file": tmp_path / "secret"}
        return AuthSettings(method="approle", **files, **changes)

    return make


async def attempt(server: Server, auth: AuthSettings, ids: SecretIds) -> VaultLogin | Exception:
    try:
        return await log_in(server, auth, ids)
    except (VaultError, SpentError) as error:
        return error


@pytest.mark.parametrize("first", [TOKEN, LOST])
@pytest.mark.parametrize("restarted", [False, True])
async def test_what_may_have_been_used_and_is_refused_then_is_spent(
    tmp_path: Path, approle: Callable[..., AuthSettings], first: Result, restarted: bool
) -> None:
    server, ids = Server(first, REFUSED), SecretIds(tmp_path)
    await attempt(server, approle(), ids)
    found = await attempt(server, approle(), SecretIds(tmp_path) if restarted else ids)
    assert isinstance(found, SpentError)
    assert "write a new one into the file" in str(found)


@pytest.mark.parametrize("first", [REFUSED, failure(503), failure(429)])
async def test_what_the_server_did_not_take_is_not_spent(
    tmp_path: Path, approle: Callable[..., AuthSettings], first: Result
) -> None:
    server, ids = Server(first, REFUSED, TOKEN), SecretIds(tmp_path)
    await attempt(server, approle(), ids)
    assert await attempt(server, approle(), ids) is REFUSED
    assert isinstance(await attempt(server, approle(), ids), VaultLogin)


async def test_another_secret_id_is_not_the_spent_one(tmp_path: Path, approle: Callable[..., AuthSettings]) -> None:
    server, ids = Server(TOKEN, REFUSED, REFUSED), SecretIds(tmp_path)
    await attempt(server, approle(), ids)
    assert isinstance(await attempt(server, approle(), ids), SpentError)
    (tmp_path / "secret").write_text("another")
    assert await attempt(server, approle(), ids) is REFUSED


async def test_a_spent_one_that_was_wrapped_wants_a_new_wrapping_token(
    tmp_path: Path, approle: Callable[..., AuthSettings]
) -> None:
    server, ids = Server(WRAPPED, OPENED, TOKEN, REFUSED), SecretIds(tmp_path)
    await attempt(server, approle(secret_id_wrapped=True), ids)
    found = await attempt(server, approle(secret_id_wrapped=True), ids)
    assert "write a new wrapping token into the file" in str(found)


async def test_a_wrapping_token_that_somebody_else_opened_is_told(
    tmp_path: Path, approle: Callable[..., AuthSettings]
) -> None:
    found = await attempt(Server(failure(400)), approle(secret_id_wrapped=True), SecretIds(tmp_path))
    assert isinstance(found, SpentError)
    assert "has expired or was opened before; find out by whom" in str(found)


async def test_a_volume_that_takes_nothing_costs_no_second_unwrapping(
    tmp_path: Path, approle: Callable[..., AuthSettings]
) -> None:
    server, ids = Server(WRAPPED, OPENED, TOKEN, TOKEN), SecretIds(tmp_path / "absent")
    await attempt(server, approle(secret_id_wrapped=True), ids)
    assert isinstance(await attempt(server, approle(secret_id_wrapped=True), ids), VaultLogin)
