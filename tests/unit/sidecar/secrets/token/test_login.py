"""Ways to log in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pod_runtime.secret import Secret
from sidecar.secrets.errors import LoginError
from sidecar.secrets.settings import AuthSettings
from sidecar.secrets.token.approle import SecretIds
from sidecar.secrets.token.login import log_in
from sidecar.secrets.vault.client import VaultAnswer

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
