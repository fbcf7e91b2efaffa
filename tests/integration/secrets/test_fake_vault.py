"""The fake server of the unit tests, held against a real one: the same requests, the same kinds of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pod_runtime.secret import Secret
from sidecar.secrets.errors import VaultError
from sidecar.secrets.settings import SecretsSettings
from sidecar.secrets.vault.client import VaultCaller, VaultClient
from tests.integration.secrets.vault import Vault
from tests.unit.sidecar.secrets.fake_clock import FakeClock
from tests.unit.sidecar.secrets.fake_vault import ROLE_ID, SECRET_ID, FakeVault

pytestmark = pytest.mark.real


class Fake:
    """The fake, with the names of the real one."""

    def __init__(self) -> None:
        self.caller: VaultCaller = FakeVault(FakeClock(), lease_ttl=3600.0, token_ttl=1200.0)
        self.caller.write("venue", token="first")
        self.ids = {"role_id": ROLE_ID, "secret_id": SECRET_ID}
        self.venue, self.creds = "venue", "database/creds/broker"


class Real:
    """The real one."""

    def __init__(self, vault: Vault) -> None:
        self.caller: VaultCaller = VaultClient(SecretsSettings(address=vault.bao.address))
        role, secret = ((vault.place / name).read_text() for name in ("role-id", "secret-id"))
        self.ids = {"role_id": role, "secret_id": secret}
        self.venue, self.creds = f"{vault.name}/venue", f"database/creds/{vault.name}"


@pytest.fixture(params=["fake", "real"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fake | Real]:
    if request.param == "fake":
        yield Fake()
        return
    real = Real(request.getfixturevalue("vault"))
    yield real
    real.caller.close()  # type: ignore[attr-defined] # the real client


async def log_in(server: Fake | Real) -> Secret:
    answer = await server.caller.call("POST", "auth/approle/login", body=server.ids)
    assert answer.auth["renewable"] is True
    assert answer.auth["lease_duration"] == 1200
    assert answer.auth["accessor"]
    return Secret(answer.auth["client_token"])


async def status_of(server: Fake | Real, method: str, path: str, token: Secret | None, body: Any = None) -> int:
    try:
        return (await server.caller.call(method, path, token=token, body=body)).status
    except VaultError as error:
        return error.status


async def test_logins(server: Fake | Real) -> None:
    await log_in(server)
    wrong = server.ids | {"secret_id": "wrong"}
    assert await status_of(server, "POST", "auth/approle/login", None, wrong) == 400


async def test_versions_and_values(server: Fake | Real) -> None:
    token = await log_in(server)
    metadata = await server.caller.call("GET", f"secret/metadata/{server.venue}", token=token)
    assert metadata.data["current_version"] == 1
    assert metadata.data["versions"]["1"]["destroyed"] is False
    value = await server.caller.call("GET", f"secret/data/{server.venue}", token=token)
    assert (value.data["data"], value.data["metadata"]["version"]) == ({"token": "first"}, 1)
    missing = server.venue.replace("venue", "missing")
    assert await status_of(server, "GET", f"secret/data/{missing}", token) == 404


async def test_the_life_of_a_lease(server: Fake | Real) -> None:
    token = await log_in(server)
    lease = await server.caller.call("GET", server.creds, token=token)
    assert (lease.lease_duration, lease.renewable, sorted(lease.data)) == (3600, True, ["password", "username"])
    assert lease.lease_id.startswith(server.creds + "/")
    body = {"lease_id": lease.lease_id, "increment": 3600}
    renewed = await server.caller.call("POST", "sys/leases/renew", token=token, body=body)
    assert (renewed.lease_id, renewed.lease_duration, renewed.renewable) == (lease.lease_id, 3600, True)
    revoke = {"lease_id": lease.lease_id}
    assert await status_of(server, "POST", "sys/leases/revoke", token, revoke) in {200, 204}
    assert await status_of(server, "POST", "sys/leases/revoke", token, revoke) in {200, 204}
    assert await status_of(server, "POST", "sys/leases/renew", token, body) == 400


async def test_a_renewal_never_passes_the_longest_life(server: Fake | Real) -> None:
    token = await log_in(server)
    lease = await server.caller.call("GET", server.creds, token=token)
    body = {"lease_id": lease.lease_id, "increment": 10 * 86400}
    renewed = await server.caller.call("POST", "sys/leases/renew", token=token, body=body)
    assert 86400 - 60 <= renewed.lease_duration <= 86400


async def test_the_life_of_a_token(server: Fake | Real) -> None:
    token = await log_in(server)
    looked = await server.caller.call("GET", "auth/token/lookup-self", token=token)
    assert 1190 <= looked.data["ttl"] <= 1200
    body = {"increment": "3000s"}
    renewed = await server.caller.call("POST", "auth/token/renew-self", token=token, body=body)
    assert renewed.auth["lease_duration"] == 3000
    assert await status_of(server, "POST", "auth/token/revoke-self", token) == 204
    assert await status_of(server, "GET", "auth/token/lookup-self", token) == 403
    assert await status_of(server, "POST", "auth/token/revoke-self", token) == 403


async def test_a_token_goes_by_its_accessor(server: Fake | Real) -> None:
    old, new = await log_in(server), await log_in(server)
    accessor = (await server.caller.call("GET", "auth/token/lookup-self", token=old)).data["accessor"]
    body = {"accessor": accessor}
    renewed = await server.caller.call("POST", "auth/token/renew-accessor", token=new, body=body)
    assert renewed.auth["lease_duration"] == 1200
    assert await status_of(server, "POST", "auth/token/revoke-accessor", new, body) == 204
    assert await status_of(server, "GET", "auth/token/lookup-self", old) == 403
    assert await status_of(server, "POST", "auth/token/revoke-accessor", new, body) == 200


async def test_without_a_token_nothing_is_given(server: Fake | Real) -> None:
    assert await status_of(server, "GET", f"secret/data/{server.venue}", None) == 403
