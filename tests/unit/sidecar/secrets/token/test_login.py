"""Ways to log in, and secret ids that were used up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pod_runtime.secret import Secret
from sidecar.secrets.errors import LoginError, SpentError, VaultError, VaultFault
from sidecar.secrets.settings import AuthSettings
from sidecar.secrets.token.login import SecretIds, VaultLogin, log_in
from sidecar.secrets.vault.client import VaultAnswer
from tests.unit.sidecar.secrets.fake_vault import failure

AUTH = {"client_token": "t", "accessor": "a", "lease_duration": 60, "renewable": True}


class Server:
    """Answers by path and remembers what it was asked."""

    def __init__(self, **answers: VaultAnswer) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, Mapping[str, Any] | None]] = []

    async def call(
        self, method: str, path: str, *, token: Secret | None = None, body: Mapping[str, Any] | None = None
    ) -> VaultAnswer:
        self.asked.append((path, token.reveal() if token else "", body))
        return self.answers[path.rpartition("/")[2].replace("-", "_")]


def write(place: Path, name: str, text: str) -> Path:
    path = place / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(("method", "mount"), [("kubernetes", "kubernetes"), ("jwt", "jwt")])
async def test_a_projected_token_is_read_again_at_every_login(tmp_path: Path, method: str, mount: str) -> None:
    server, path = Server(login=VaultAnswer(status=200, auth=AUTH)), write(tmp_path, "token", "first\n")
    auth = AuthSettings(method=method, role="broker", jwt_file=path)
    login = await log_in(server, auth, SecretIds(tmp_path))
    path.write_text("second\n")
    await log_in(server, auth, SecretIds(tmp_path))
    assert (login.token.reveal(), login.accessor, login.ttl_s, login.renewable) == ("t", "a", 60.0, True)
    assert server.asked == [
        (f"auth/{mount}/login", "", {"role": "broker", "jwt": "first"}),
        (f"auth/{mount}/login", "", {"role": "broker", "jwt": "second"}),
    ]


def approle(tmp_path: Path, **changes: Any) -> AuthSettings:
    values = {"role_id_file": write(tmp_path, "role", "r"), "secret_id_file": write(tmp_path, "secret", "s")}
    return AuthSettings(method="approle", mount="teams/a", **(values | changes))


async def test_approle_sends_both_ids_to_its_mount(tmp_path: Path) -> None:
    server = Server(login=VaultAnswer(status=200, auth=AUTH))
    await log_in(server, approle(tmp_path), SecretIds(tmp_path))
    assert server.asked == [("auth/teams/a/login", "", {"role_id": "r", "secret_id": "s"})]


async def test_a_wrapped_secret_id_is_unwrapped_once_also_over_a_restart(tmp_path: Path) -> None:
    server = Server(
        login=VaultAnswer(status=200, auth=AUTH),
        lookup=VaultAnswer(status=200, data={"creation_path": "auth/teams/a/role/broker/secret-id"}),
        unwrap=VaultAnswer(status=200, data={"secret_id": "inner"}),
    )
    for _ in range(2):
        await log_in(server, approle(tmp_path, secret_id_wrapped=True), SecretIds(tmp_path))
    paths = [path for path, _, _ in server.asked]
    assert paths == ["sys/wrapping/lookup", "sys/wrapping/unwrap", "auth/teams/a/login", "auth/teams/a/login"]
    assert server.asked[1][1] == "s"
    assert server.asked[3][2] == {"role_id": "r", "secret_id": "inner"}


async def test_a_new_wrapping_token_is_opened_too(tmp_path: Path) -> None:
    server = Server(
        login=VaultAnswer(status=200, auth=AUTH),
        lookup=VaultAnswer(status=200, data={"creation_path": "auth/teams/a/role/broker/secret-id"}),
        unwrap=VaultAnswer(status=200, data={"secret_id": "inner"}),
    )
    auth = approle(tmp_path, secret_id_wrapped=True)
    await log_in(server, auth, SecretIds(tmp_path))
    write(tmp_path, "secret", "another")
    await log_in(server, auth, SecretIds(tmp_path))
    assert [path for path, _, _ in server.asked].count("sys/wrapping/unwrap") == 2
    assert (tmp_path / "secret-id.json").stat().st_mode & 0o777 == 0o600


async def test_something_else_that_was_wrapped_is_refused_unopened(tmp_path: Path) -> None:
    server = Server(lookup=VaultAnswer(status=200, data={"creation_path": "cubbyhole/x"}))
    with pytest.raises(LoginError, match="was made by 'cubbyhole/x', not by approle"):
        await log_in(server, approle(tmp_path, secret_id_wrapped=True), SecretIds(tmp_path))
    assert len(server.asked) == 1


async def test_a_token_from_a_file_is_adopted_and_not_ours(tmp_path: Path) -> None:
    server = Server(lookup_self=VaultAnswer(status=200, data={"accessor": "a", "ttl": 30, "renewable": False}))
    auth = AuthSettings(method="token_file", token_file=write(tmp_path, "token", " tok \n"))
    login = await log_in(server, auth, SecretIds(tmp_path))
    assert (login.token.reveal(), login.owned, login.ttl_s) == ("tok", False, 30.0)


@pytest.mark.parametrize(("text", "message"), [(None, "No such file"), ("  \n", "is empty")])
async def test_a_missing_or_empty_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LoginError, match=message) as raised:
        await log_in(Server(), AuthSettings(role="r", jwt_file=path), SecretIds(tmp_path))
    assert str(path) in str(raised.value)


async def test_a_login_that_wants_more_is_explained(tmp_path: Path) -> None:
    server = Server(login=VaultAnswer(status=200, auth={"mfa_requirement": {}}))
    with pytest.raises(LoginError, match="second factor"):
        await log_in(server, approle(tmp_path), SecretIds(tmp_path))


TOKEN = VaultAnswer(status=200, auth={"client_token": "t", "accessor": "a", "lease_duration": 60, "renewable": True})
WRAPPED = VaultAnswer(status=200, data={"creation_path": "auth/approle/role/broker/secret-id"})
OPENED = VaultAnswer(status=200, data={"secret_id": "inner"})
LOST = VaultError(VaultFault.TIMEOUT, "POST auth/approle/login", "no answer in time")
REFUSED = failure(400, "POST auth/approle/login")
Result = VaultAnswer | VaultError


class ScriptedServer:
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
def make_auth(tmp_path: Path) -> Callable[..., AuthSettings]:
    (tmp_path / "role").write_text("r")
    (tmp_path / "secret").write_text("s")

    def make(**changes: Any) -> AuthSettings:
        files: dict[str, Any] = {"role_id_file": tmp_path / "role", "secret_id_file": tmp_path / "secret"}
        return AuthSettings(method="approle", **files, **changes)

    return make


async def attempt(server: ScriptedServer, auth: AuthSettings, ids: SecretIds) -> VaultLogin | Exception:
    try:
        return await log_in(server, auth, ids)
    except (VaultError, SpentError) as error:
        return error


@pytest.mark.parametrize("first", [TOKEN, LOST])
@pytest.mark.parametrize("restarted", [False, True])
async def test_what_may_have_been_used_and_is_refused_then_is_spent(
    tmp_path: Path, make_auth: Callable[..., AuthSettings], first: Result, restarted: bool
) -> None:
    server, ids = ScriptedServer(first, REFUSED), SecretIds(tmp_path)
    await attempt(server, make_auth(), ids)
    found = await attempt(server, make_auth(), SecretIds(tmp_path) if restarted else ids)
    assert isinstance(found, SpentError)
    assert "write a new one into the file" in str(found)


@pytest.mark.parametrize("first", [REFUSED, failure(503), failure(429)])
async def test_what_the_server_did_not_take_is_not_spent(
    tmp_path: Path, make_auth: Callable[..., AuthSettings], first: Result
) -> None:
    server, ids = ScriptedServer(first, REFUSED, TOKEN), SecretIds(tmp_path)
    await attempt(server, make_auth(), ids)
    assert await attempt(server, make_auth(), ids) is REFUSED
    assert isinstance(await attempt(server, make_auth(), ids), VaultLogin)


async def test_another_secret_id_is_not_the_spent_one(tmp_path: Path, make_auth: Callable[..., AuthSettings]) -> None:
    server, ids = ScriptedServer(TOKEN, REFUSED, REFUSED), SecretIds(tmp_path)
    await attempt(server, make_auth(), ids)
    assert isinstance(await attempt(server, make_auth(), ids), SpentError)
    (tmp_path / "secret").write_text("another")
    assert await attempt(server, make_auth(), ids) is REFUSED


async def test_a_spent_one_that_was_wrapped_wants_a_new_wrapping_token(
    tmp_path: Path, make_auth: Callable[..., AuthSettings]
) -> None:
    server, ids = ScriptedServer(WRAPPED, OPENED, TOKEN, REFUSED), SecretIds(tmp_path)
    await attempt(server, make_auth(secret_id_wrapped=True), ids)
    found = await attempt(server, make_auth(secret_id_wrapped=True), ids)
    assert "write a new wrapping token into the file" in str(found)


async def test_a_wrapping_token_that_somebody_else_opened_is_told(
    tmp_path: Path, make_auth: Callable[..., AuthSettings]
) -> None:
    found = await attempt(ScriptedServer(failure(400)), make_auth(secret_id_wrapped=True), SecretIds(tmp_path))
    assert isinstance(found, SpentError)
    assert "has expired or was opened before; find out by whom" in str(found)


async def test_a_volume_that_takes_nothing_costs_no_second_unwrapping(
    tmp_path: Path, make_auth: Callable[..., AuthSettings]
) -> None:
    server, ids = ScriptedServer(WRAPPED, OPENED, TOKEN, TOKEN), SecretIds(tmp_path / "absent")
    await attempt(server, make_auth(secret_id_wrapped=True), ids)
    assert isinstance(await attempt(server, make_auth(secret_id_wrapped=True), ids), VaultLogin)
