from __future__ import annotations

import asyncio
import errno
import re
from dataclasses import replace as replace_settings

import pytest

from broker.events.process import HttpRequest
from producer.trace import current_trace
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.secret_volume import KEYS


async def test_body_beyond_the_limit_is_413(api: Client) -> None:
    answer = await api("POST", "/v1/orders", raw=b'{"comment":"' + b"x" * 70_000 + b'"}')

    assert (answer.status, answer.problem) == (413, "too-large")
    assert api.orders.placed == []


async def test_every_answer_is_an_event_with_the_route_template(api: Client) -> None:
    await api.place()
    await api("GET", "/v1/orders/01JGX5TVK2M4N6P8Q0R2S4T999")
    await api("GET", "/nothing")
    await api("BREW", "/v1/orders")

    told = [event[:3] for event in api.events if isinstance(event, HttpRequest)]
    assert told == [
        ("POST", "/v1/orders", "2xx"),
        ("GET", "/v1/orders/{order_id}", "4xx"),
        ("GET", "unmatched", "4xx"),
        ("other", "/v1/orders", "4xx"),
    ]


async def test_callers_trace_is_current_while_the_order_service_works(api: Client) -> None:
    seen: list[bytes | None] = []

    async def look() -> None:
        seen.append(current_trace.get())

    api.orders.before = look
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await api("POST", "/v1/orders", body=body, headers={"traceparent": trace})
    await api("POST", "/v1/orders", body=body, headers={"traceparent": "nonsense"})

    assert seen == [bytes.fromhex("0af7651916cd43dd8448eb211c80319cb7ad6b716920333101"), None]


async def test_answers_are_not_sniffed_or_cached(api: Client) -> None:
    answer = await api("GET", "/v1/account")

    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")


async def test_fault_of_our_own_is_500_without_its_text(api: Client) -> None:
    api.orders.fault = RuntimeError("password=hunter2")
    answer = await api.place()

    assert (answer.status, answer.problem) == (500, "internal")
    assert b"hunter2" not in answer.content


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "NoDescriptors"),
        (OSError(errno.ENOSPC, "No space left on device"), "VolumeFull"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "NoMemory"),
        (ExceptionGroup("tasks", [MemoryError()]), "NoMemory"),
    ],
    ids=["EMFILE", "ENOSPC", "ENOMEM", "group"],
)
async def test_what_the_machine_lacks_for_a_while_is_503_with_its_reason_on_every_route(
    api: Client, monkeypatch: pytest.MonkeyPatch, fault: Exception, reason: str
) -> None:
    async def lack(*_: object, **__: object) -> None:
        raise fault

    # All of FastAPI's routes go through it: the fault is there whatever the route's parameters are.
    monkeypatch.setattr("fastapi.routing.solve_dependencies", lack)
    answers = {}
    for path, methods in api.app.openapi()["paths"].items():
        for method in methods:
            answers[f"{method} {path}"] = await api(method.upper(), re.sub(r"\{.*?\}", "7", path), key=KEYS["boss"])
    for path in ("/ui", "/ui/page.js", "/docs"):
        answers[path] = await api("GET", path)
    # The short way of a usual order, beside the routes.
    monkeypatch.setattr("broker.api.routes.order_entrance.place", lack)
    answers["the short way"] = await api.place()

    found = {
        name: (answer.status, answer.problem, answer.json().get("reason"), answer.headers.get("retry-after"))
        for name, answer in answers.items()
    }
    assert found == dict.fromkeys(found, (503, "not-ready", reason, "2"))
    assert len(found) > 35


@pytest.mark.parametrize(("left_ms", "waited"), [("60", "0.06 s"), ("0", "0.05 s")])
async def test_deadline_of_the_broker_that_forwards_the_request_holds_down_to_half_of_ours(
    api: Client, left_ms: str, waited: str
) -> None:
    release = asyncio.Event()
    api.orders.before = lambda: _until(release)
    api.context.settings = replace_settings(api.context.settings, deadline_s=0.1)
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
    answer = await api("POST", "/v1/orders", body=body, headers={"Broker-Deadline-Ms": left_ms})
    release.set()

    assert (answer.status, answer.problem) == (504, "deadline")
    assert f"within {waited}" in answer.json()["detail"]


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "9" * 5000, "\u0661"])
async def test_deadline_that_is_none_is_ours(api: Client, text: str) -> None:
    body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100"}
    headers = {"Broker-Deadline-Ms": text.encode().decode("latin-1")}
    assert (await api("POST", "/v1/orders", body=body, headers=headers)).status == 201


async def test_deadline_is_504_and_the_order_goes_on(api: Client) -> None:
    release = asyncio.Event()
    api.orders.before = lambda: _until(release)
    api.context.settings = replace_settings(api.context.settings, deadline_s=0.01)
    answer = await api.place(client_order_id="slow")
    assert (answer.status, answer.problem) == (504, "deadline")
    assert len(api.context.in_flight) == 1

    release.set()
    assert await api.context.in_flight.wait_idle(5)
    assert [request.client_order_id for request in api.orders.placed] == ["slow"]


async def _until(event: asyncio.Event) -> None:
    await event.wait()
