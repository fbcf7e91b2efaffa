from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from broker.venue import errors
from broker.venue.rest.client import VenueRest
from broker.venue.rest.connection_pool import VenueConnections
from broker.venue.settings import VenueSettings
from broker.venue.v20.order_requests import VenueCall
from pod_runtime.secret import Secret
from tests.venue_client import FakeTokens, new_rest

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
POST = VenueCall(operation="create_order", method="POST", path="/orders", body={"order": {}})
PUT = VenueCall(operation="close_trade", method="PUT", path="/trades/1/close", body={"units": "ALL"})


class FakeVenueServer:
    """Answers every request from `answers`, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[web.Request] = []
        self.events: list[Any] = []
        self.token: Secret | None = Secret("first-token")
        self.tokens = FakeTokens(lambda: self.token)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)

    @asynccontextmanager
    async def rest(self, **settings: Any) -> AsyncIterator[VenueRest]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        server = TestServer(app)
        await server.start_server()
        url = str(server.make_url("")).rstrip("/")
        plain: dict[str, Any] = {
            "account": "101",
            "rest_url": url,
            "stream_url": url,
            "request_deadline_s": 20,
            "connections_per_s": 100,
        }
        made = VenueSettings(**(plain | settings))
        emit = self.events.append
        try:
            async with VenueConnections(made, emit) as connections:
                yield VenueRest(made, connections, tokens=self.tokens, emit=emit, chance=lambda: 0.0)
        finally:
            await server.close()

    def of(self, name: str) -> list[Any]:
        return [event for event in self.events if type(event).__name__ == name]


def says(body: Any, status: int = 200, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return answer


async def html(_: web.Request) -> web.StreamResponse:
    return web.Response(status=503, text="<html>Maintenance</html>", content_type="text/html")


async def reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"orderCreateTransaction": {')
    assert request.transport is not None
    request.transport.abort()
    return response


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return web.Response()


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = asyncio.sleep
    monkeypatch.setattr("broker.venue.rest.client.asyncio.sleep", lambda _: sleep(0))


@pytest.mark.parametrize(
    "answer", [html, reset, half, says({}, 500), says("no object"), says({"orderCreateTransaction": {}})]
)
@pytest.mark.parametrize("call", [POST, PUT])
async def test_write_whose_outcome_is_unknown_is_sent_once(answer: Answer, call: VenueCall) -> None:
    server = FakeVenueServer(answer)
    async with server.rest() as rest:
        with pytest.raises(errors.VenueError) as caught:
            await rest.submit(call)
    assert not caught.value.outcome_known
    assert len(server.requests) == 1


async def test_silence_is_given_up_at_the_deadline() -> None:
    server = FakeVenueServer(never)
    async with server.rest(request_deadline_s=1.0) as rest:
        with pytest.raises(errors.AnswerLostError):
            await rest.submit(POST)


async def test_put_on_a_dead_kept_alive_connection_is_not_repeated() -> None:
    server = FakeVenueServer(says({}), reset)
    async with server.rest(connections=1) as rest:
        await rest.submit(PUT)
        with pytest.raises(errors.AnswerLostError):
            await rest.submit(PUT)
    assert len(server.requests) == 2


async def test_nobody_listening_is_known_not_to_be_sent() -> None:
    server = FakeVenueServer(says({}))
    async with server.rest(rest_url=f"http://127.0.0.1:{unused_port()}") as rest:
        with pytest.raises(errors.NotSentError) as caught:
            await rest.submit(POST)
    assert caught.value.outcome_known


async def test_read_is_repeated_over_faults_and_counted() -> None:
    page = {"transactions": [], "lastTransactionID": "5"}
    server = FakeVenueServer(html, reset, says({}, 429, **{"Retry-After": "0"}), says(page))
    async with server.rest() as rest:
        assert (await rest.transactions_since(5)).last_transaction_id == 5
    assert len(server.requests) == 4
    assert [event.operation for event in server.of("ApiRetry")] == ["transactions_since"] * 3
    assert [event.error_type for event in server.of("ApiError")] == ["venue_failed", "answer_lost", "rate_limited"]


async def test_read_ends_after_its_tries() -> None:
    server = FakeVenueServer(html)
    async with server.rest(read_attempts=3) as rest:
        with pytest.raises(errors.VenueFailedError):
            await rest.transactions_since(5)
    assert len(server.requests) == 3


async def test_dead_token_is_reported_and_not_tried_again() -> None:
    server = FakeVenueServer(says({"errorMessage": "Insufficient authorization to perform request."}, 401))
    async with server.rest() as rest:
        with pytest.raises(errors.NotAuthorizedError):
            await rest.transactions_since(5)
    assert server.tokens.rejected == [Secret("first-token")]
    assert len(server.requests) == 1


async def no_such_site(_: web.Request) -> web.StreamResponse:
    return web.Response(status=404, text="<html>no such site</html>", content_type="text/html")


async def walled(_: web.Request) -> web.StreamResponse:
    return web.Response(status=403, text="<html>forbidden</html>", content_type="text/html")


async def test_a_gateways_404_is_no_word_on_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeVenueServer(no_such_site)
    async with server.rest(read_attempts=2) as rest:
        with pytest.raises(errors.ForeignAnswerError):
            await rest.ending("7")
    assert len(server.requests) == 2, "and it is asked again"


async def test_a_gateways_403_leaves_the_token_as_it_is() -> None:
    server = FakeVenueServer(walled)
    async with server.rest() as rest:
        with pytest.raises(errors.ForeignAnswerError) as caught:
            await rest.submit(POST)
    assert (server.tokens.rejected, caught.value.outcome_known, len(server.requests)) == ([], False, 1)


async def test_new_token_is_used_from_the_next_request_on() -> None:
    page = {"transactions": [], "lastTransactionID": "5"}
    server = FakeVenueServer(says(page))
    async with server.rest() as rest:
        await rest.transactions_since(5)
        server.token = Secret("second-token")
        await rest.transactions_since(5)
    assert [item.headers["Authorization"] for item in server.requests] == ["Bearer first-token", "Bearer second-token"]


async def test_without_a_token_nothing_is_sent() -> None:
    server = FakeVenueServer(says({}))
    server.token = None
    async with server.rest() as rest:
        with pytest.raises(errors.NotAuthorizedError, match="no venue token"):
            await rest.submit(POST)
    assert server.requests == []


async def test_no_event_and_no_error_holds_the_token() -> None:
    server = FakeVenueServer(says({"errorMessage": "bad"}, 401))
    async with server.rest() as rest:
        with pytest.raises(errors.NotAuthorizedError) as caught:
            await rest.prove(Secret("other-token"))
    assert server.requests[0].headers["Authorization"] == "Bearer other-token"
    assert "token" not in f"{caught.value!r}{[tuple(event) for event in server.events]}".replace("prove_token", "")
    assert server.tokens.rejected == [Secret("other-token")]


async def test_connections_are_counted_and_paced_by_their_own_bucket() -> None:
    server = FakeVenueServer(says({"transactions": [], "lastTransactionID": "5"}))
    async with server.rest(connections_per_s=0.1) as rest:
        for _ in range(3):
            await rest.transactions_since(5)
        assert rest.connections.openings.tokens < 1
    assert [event.channel for event in server.of("ConnectionOpened")] == ["rest"]


async def test_connection_status_is_told_when_it_turns() -> None:
    page = {"transactions": [], "lastTransactionID": "5"}
    server = FakeVenueServer(says(page), html, says({"errorCode": "X"}, 400), says(page))
    async with server.rest(read_attempts=1) as rest:
        await rest.transactions_since(5)
        for kind in (errors.VenueFailedError, errors.VenueRefusedError):
            with pytest.raises(kind):
                await rest.transactions_since(5)
        await rest.transactions_since(5)
    assert [(event.up, event.reason) for event in server.of("ConnectionStatus")] == [
        (1, None),
        (0, "venue_failed"),
        (1, None),
    ]


def queued(settings: VenueSettings, events: list[Any]) -> VenueRest:
    """A venue that said to stop for an hour."""
    rest = new_rest(settings, lambda: Secret("token"), emit=events.append, chance=lambda: 0.0)
    rest.connections.requests.obey(3600.0)
    return rest


async def moved_on(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Lets everybody wait who wants to, then moves the loop's clock."""
    for _ in range(5):
        await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda real=loop.time: real() + seconds)


@pytest.mark.parametrize(
    ("operation", "ask"),
    [
        ("create_order", lambda rest: rest.submit(POST)),
        ("open_positions", lambda rest: rest.positions()),
        ("prove_token", lambda rest: rest.prove(Secret("new"))),
    ],
)
async def test_request_without_a_turn_is_given_up_at_the_deadline(
    operation: str, ask: Callable[[VenueRest], Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Any] = []
    rest = queued(VenueSettings(account="101", request_deadline_s=10, read_attempts=1), events)
    asking = asyncio.ensure_future(ask(rest))
    await moved_on(monkeypatch, 9.0)
    await asyncio.wait([asking], timeout=0)
    assert not asking.done(), "a second is left"
    await moved_on(monkeypatch, 1.1)
    with pytest.raises(errors.NotSentError, match="no turn within the request's deadline") as caught:
        await asking
    assert caught.value.operation == operation
    assert caught.value.outcome_known
    assert events == [], "the venue was not asked and has not failed"
    assert rest.connections.requests.depth == 0, "it has left its place"


async def test_read_without_a_turn_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeVenueServer(says({"positions": [], "lastTransactionID": "5"}))
    async with server.rest(connections=1) as rest:
        await rest.positions()
        rest.connections.requests.obey(3600.0)
        asking = asyncio.create_task(rest.positions())
        await moved_on(monkeypatch, 20.1)
        while not server.of("ApiRetry"):
            await asyncio.sleep(0)
        rest.connections.requests.open()
        assert await asking == ([], 5)
    assert len(server.requests) == 2
