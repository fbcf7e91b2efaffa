"""Requests to a broker that only the account's owner can answer."""

from __future__ import annotations

import pytest
from fastapi.responses import Response

from broker.api.auth.keys import Quota
from broker.api.forwarding.peer import ForwardedRequest, Peer
from broker.api.forwarding.standby import was_forwarded, with_idempotency_key
from broker.api.schemas.responses import TYPE_PREFIX
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.secret_volume import KEYS

OWNER = "10.0.0.1:8080"
WRITES = [
    ("POST", "/v1/orders"),
    ("PUT", "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T001"),
    ("DELETE", "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T001"),
    ("POST", "/v1/positions/EUR_USD/close"),
    ("POST", "/v1/trades/7/close"),
    ("PUT", "/v1/admin/state"),
    ("POST", "/v1/admin/reconcile"),
]
READS = ["/v1/orders?instrument=EUR_USD", "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T001", "/v1/prices", "/v1/admin/state"]
ORDER = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}


class FakePeer(Peer):
    """Answers 201 itself and records the requests that it was to forward."""

    def __init__(self) -> None:
        self.forwarded: list[tuple[str, ForwardedRequest]] = []

    async def forward(self, owner: str, request: ForwardedRequest) -> Response:
        self.forwarded.append((owner, request))
        return Response(b'{"id":"1"}', 201, {"Idempotent-Replayed": "false"}, media_type="application/json")


@pytest.fixture
def peer(api: Client) -> FakePeer:
    api.orders.owner = OWNER
    api.context.peer = recorder = FakePeer()
    api.context.forwards_writes = True
    return recorder


@pytest.mark.parametrize(("method", "target"), WRITES)
async def test_standby_refuses_writes_with_the_owners_address(api: Client, method: str, target: str) -> None:
    api.orders.owner = OWNER
    answer = await api(method, target, key=KEYS["boss"], body=ORDER)
    assert answer.status == 409
    body = answer.json()
    assert (body["type"], body["reason"]) == (TYPE_PREFIX + "not-owner-of-account", "NotOwner")
    assert body["owner"] == "http://10.0.0.1:8080"
    assert api.orders.placed == []


@pytest.mark.parametrize(("method", "target"), WRITES)
async def test_forwarding_standby_gives_the_owners_answer(
    api: Client, peer: FakePeer, method: str, target: str
) -> None:
    answer = await api(method, target, key=KEYS["boss"], body=ORDER)
    assert (answer.status, answer.json()) == (201, {"id": "1"})
    ((address, forwarded),) = peer.forwarded
    assert (address, forwarded.method, forwarded.target) == (OWNER, method, target)
    assert forwarded.headers["x-api-key"] == KEYS["boss"]
    assert api.orders.placed == []


@pytest.mark.parametrize("forwards", [True, False])
@pytest.mark.parametrize("target", READS)
async def test_what_only_the_owner_has_in_memory_is_read_there(
    api: Client, peer: FakePeer, target: str, *, forwards: bool
) -> None:
    api.context.forwards_writes = forwards
    assert (await api("GET", target)).status == 201
    assert [forwarded.target for _, forwarded in peer.forwarded] == [target]


async def test_account_and_positions_are_answered_by_any_broker(api: Client, peer: FakePeer) -> None:
    assert (await api("GET", "/v1/account")).status == 200
    assert (await api("GET", "/v1/positions")).status == 200
    assert peer.forwarded == []


async def test_the_callers_own_key_of_the_order_is_kept(api: Client, peer: FakePeer) -> None:
    await api("POST", "/v1/orders", body=ORDER, headers={"Idempotency-Key": "mine"})
    assert peer.forwarded[0][1].headers["idempotency-key"] == "mine"


async def test_an_order_without_a_name_gets_one_to_be_asked_for_with(api: Client, peer: FakePeer) -> None:
    await api("POST", "/v1/orders", body=ORDER)
    assert peer.forwarded[0][1].headers["idempotency-key"].startswith("auto-")


async def test_a_caller_without_the_scope_is_refused_before_the_owner_is_asked(api: Client, peer: FakePeer) -> None:
    answer = await api("POST", "/v1/orders", key=KEYS["auditor"], body=ORDER)
    assert (answer.status, peer.forwarded) == (403, [])


async def test_a_request_is_forwarded_once(api: Client, peer: FakePeer) -> None:
    answer = await api("POST", "/v1/orders", body=ORDER, headers={"Via": "1.1 ingress, 1.1 broker"})
    assert (answer.status, answer.json()["reason"], answer.headers["retry-after"]) == (503, "NoOwner", "1")
    assert peer.forwarded == []


async def test_without_a_known_owner_nothing_is_sent(api: Client, peer: FakePeer) -> None:
    api.orders.owner = ""
    answer = await api("POST", "/v1/orders", body=ORDER)
    assert (answer.status, answer.json()["reason"], peer.forwarded) == (503, "NoOwner", [])


async def test_owner_answers_what_was_forwarded_to_it(api: Client, peer: FakePeer) -> None:
    api.orders.owner = None
    answer = await api("POST", "/v1/orders", body=ORDER, headers={"Via": "1.1 broker"})
    assert (answer.status, len(api.orders.placed), peer.forwarded) == (201, 1, [])


async def test_ending_standby_takes_no_orders(api: Client, peer: FakePeer) -> None:
    api.context.drain.set()
    answer = await api("POST", "/v1/orders", body=ORDER)
    assert (answer.status, answer.json()["reason"], peer.forwarded) == (503, "draining", [])


async def test_what_is_forwarded_counts_at_the_owner_alone(api: Client, peer: FakePeer) -> None:
    api.context.quota = Quota(0.001, 1)
    assert [(await api("POST", "/v1/orders", body=ORDER)).status for _ in range(2)] == [201, 201]
    assert [(await api("GET", "/v1/account")).status for _ in range(2)] == [200, 429]


async def test_what_the_standby_refuses_counts_there_once(api: Client) -> None:
    api.orders.owner = OWNER
    api.context.quota = Quota(0.001, 1)
    assert [(await api("POST", "/v1/orders", body=ORDER)).status for _ in range(2)] == [409, 429]


@pytest.mark.parametrize(
    ("via", "expected"),
    [("1.1 broker", True), ("1.1 a,1.1 broker", True), ("1.1 broker-of-others", False), ("", False)],
)
def test_via_tells_what_was_forwarded(via: str, expected: bool) -> None:
    assert was_forwarded({"via": via}) is expected


@pytest.mark.parametrize("body", [b'{"client_order_id": "a"}'])
def test_an_order_that_names_itself_gets_no_second_name(body: bytes) -> None:
    assert with_idempotency_key({}, body, "auto-1") == {}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"not json", b'{"client_order_id": null}'])
def test_an_order_that_does_not_name_itself_is_named(body: bytes) -> None:
    assert with_idempotency_key({}, body, "auto-1") == {"idempotency-key": "auto-1"}
