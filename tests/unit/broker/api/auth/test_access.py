from __future__ import annotations

from hashlib import sha256

import pytest

from broker.api.auth.keys import parse_api_keys
from broker.api.settings import ApiSettings
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.secret_volume import KEYS


async def test_request_without_a_key_is_401_with_a_challenge(api: Client) -> None:
    answer = await api("GET", "/v1/account", key=None)

    assert (answer.status, answer.problem) == (401, "no-key")
    assert answer.headers["www-authenticate"] == 'Bearer realm="broker"'


@pytest.mark.parametrize("key", [None, "wrong"])
@pytest.mark.parametrize("raw", [b"{", b"[" * 2000, b" " * 70_000])
async def test_key_is_looked_at_before_the_body(api: Client, key: str | None, raw: bytes) -> None:
    for method, target in (("POST", "/v1/orders"), ("PUT", "/v1/admin/state"), ("POST", "/v1/nothing")):
        assert (await api(method, target, key=key, raw=raw)).status == 401


async def test_wrong_keys_of_one_address_are_slowed_and_good_ones_are_not(api: Client) -> None:
    allowed = int(api.context.settings.wrong_keys_per_min)
    answers = [await api("GET", "/v1/account", key="wrong") for _ in range(allowed + 1)]

    assert [answer.status for answer in answers] == [401] * allowed + [429]
    assert (answers[-1].problem, answers[-1].headers["retry-after"]) == ("too-many-wrong-keys", "1")
    assert (await api("GET", "/v1/account")).status == 200
    assert (await api("GET", "/v1/account", key=None)).status == 401
    assert api.context.refused == {"unknown-key": allowed, "too-many-wrong-keys": 1, "no-key": 1}


@pytest.mark.parametrize("key", ["wrong", "x" * 2000, KEYS["flow"] + " ", KEYS["flow"].upper(), "\xff\xfe"])
async def test_unknown_key_is_401(api: Client, key: str) -> None:
    answer = await api("GET", "/v1/account", key=key)

    assert (answer.status, answer.problem) == (401, "unknown-key")
    assert key.encode() not in answer.content


async def test_bearer_token_is_the_same_key(api: Client) -> None:
    answer = await api("GET", "/v1/account", key=None, headers={"Authorization": f"Bearer {KEYS['flow']}"})

    assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "target", "key", "status"),
    [
        ("GET", "/v1/account", "auditor", 200),
        ("POST", "/v1/orders", "auditor", 403),
        ("DELETE", "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T001", "auditor", 403),
        ("POST", "/v1/positions/EUR_USD/close", "auditor", 403),
        ("POST", "/v1/trades/1/close", "auditor", 403),
        ("PUT", "/v1/admin/state", "flow", 403),
        ("POST", "/v1/admin/reconcile", "flow", 403),
        ("POST", "/v1/admin/reconcile", "boss", 200),
    ],
)
async def test_each_operation_needs_its_scope(api: Client, method: str, target: str, key: str, status: int) -> None:
    answer = await api(method, target, key=KEYS[key], body={})

    assert answer.status == status
    if status == 403:
        assert answer.problem == "missing-scope"
    assert api.orders.placed == []


async def test_every_route_of_the_api_asks_for_a_key(api: Client) -> None:
    document = (await api("GET", "/openapi.json", key=None)).json()
    open_ones = []
    for path, operations in document["paths"].items():
        for method in operations:
            target = path.replace("{order_id}", "1").replace("{trade_id}", "1").replace("{instrument}", "EUR_USD")
            answer = await api(method.upper(), target, key=None, body={})
            if answer.status != 401:
                open_ones.append((method, path))

    assert open_ones == []
    assert len(document["paths"]) >= 14


async def test_rotated_keys_hold_from_the_next_request_on(api: Client) -> None:
    digest = sha256(b"new-key").hexdigest()
    api.keys.append(parse_api_keys(f'{{"keys":[{{"id":"flow","sha256":"{digest}","scopes":["read"]}}]}}'))

    assert (await api("GET", "/v1/account")).status == 401
    assert (await api("GET", "/v1/account", key="new-key")).status == 200


async def test_before_there_are_keys_everything_is_503(api: Client) -> None:
    api.keys.append(None)
    answer = await api("GET", "/v1/account")

    assert (answer.status, answer.problem, answer.json()["reason"]) == (503, "not-ready", "NoApiKeys")
    assert answer.headers["retry-after"] == "1"


class TestQuotaOfAKey:
    @pytest.fixture
    def settings(self) -> ApiSettings:
        return ApiSettings(tls="off", requests_per_s=0.1, request_burst=2)

    async def test_too_many_requests_are_429_for_this_key_only(self, api: Client) -> None:
        answers = [await api("GET", "/v1/account") for _ in range(3)]

        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[2].problem == "too-many-requests"
        assert answers[2].headers["retry-after"] == "10"
        assert (await api("GET", "/v1/account", key=KEYS["auditor"])).status == 200
