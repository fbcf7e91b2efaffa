from __future__ import annotations

from pod_runtime.version import VERSION
from tests.unit.broker.api.conftest import ACCOUNT, Client
from tests.unit.broker.secret_volume import KEYS


async def test_a_key_is_told_its_id_scopes_and_accounts(api: Client) -> None:
    answer = await api("GET", "/v1/key", key=KEYS["auditor"])
    assert (answer.status, answer.json()) == (
        200,
        {"id": "auditor", "scopes": ["read"], "accounts": [ACCOUNT], "version": VERSION},
    )


async def test_an_unknown_key_is_told_nothing(api: Client) -> None:
    answer = await api("GET", "/v1/key", key="no such key")
    assert (answer.status, answer.problem) == (401, "unknown-key")
