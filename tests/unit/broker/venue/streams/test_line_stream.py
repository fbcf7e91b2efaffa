from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.venue.rest.client import VenueRest
from broker.venue.rest.connection_pool import VenueConnections
from broker.venue.settings import VenueSettings
from broker.venue.streams.line_stream import LineStream
from broker.venue.streams.stream_state import message
from pod_runtime.secret import Secret
from tests.venue_client import FakeTokens

Script = Callable[[web.StreamResponse], Awaitable[None]]


class FakeReader:
    """Keeps the messages of a stream."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.openings = 0

    def parameters(self) -> dict[str, str]:
        return {}

    async def opened(self) -> None:
        self.openings += 1

    async def take(self, lines: Sequence[bytes]) -> None:
        for raw in map(message, lines):
            if raw.get("bad"):
                raise ValueError("cannot be used")
            self.messages.append(raw)


class FakeVenue:
    """Plays one script a connection, the last one again and again."""

    def __init__(self, *scripts: Script | int | str) -> None:
        self.scripts = list(scripts)
        self.requests: list[web.Request] = []
        self.events: list[Any] = []
        self.reader = FakeReader()
        self.token = Secret("first")
        self.tokens = FakeTokens(lambda: self.token)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, int):
            return web.json_response({"errorMessage": "no"}, status=script)
        if isinstance(script, str):
            return web.Response(status=403, text=script, content_type="text/html")
        response = web.StreamResponse()
        await response.prepare(request)
        await script(response)
        return response

    def of(self, name: str) -> list[Any]:
        return [event for event in self.events if type(event).__name__ == name]

    @asynccontextmanager
    async def stream(self, **settings: Any) -> AsyncIterator[LineStream]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self.handle)
        server = TestServer(app)
        await server.start_server(shutdown_timeout=0.1)
        url = str(server.make_url("")).rstrip("/")
        plain = {"heartbeat_deadline_s": 5.0, "reconnect_s": 0.001, "healthy_after_s": 0.0, "connections_per_s": 1000}
        made = VenueSettings(account="101", rest_url=url, stream_url=url, **(plain | settings))
        connections = VenueConnections(made, self.events.append)
        rest = VenueRest(made, connections, tokens=self.tokens, emit=self.events.append, chance=lambda: 0.0)
        stream = LineStream("transactions", "/transactions/stream", rest, self.reader)
        running = asyncio.create_task(stream.run())
        try:
            yield stream
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await server.close()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not is_so():
            await asyncio.sleep(0.002)


async def forever(_: web.StreamResponse) -> None:
    await asyncio.sleep(60)


def says(*chunks: bytes, then: Script = forever) -> Script:
    async def play(response: web.StreamResponse) -> None:
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.01)
        await then(response)

    return play


async def ends(_: web.StreamResponse) -> None:
    return


async def test_objects_cut_across_chunks_arrive_whole() -> None:
    venue = FakeVenue(says(b'{"n', b'": 1}\n{"n": 2', b"}\n\n"))
    async with venue.stream() as stream:
        await until(lambda: len(venue.reader.messages) == 2)
        assert stream.is_up
    assert venue.reader.messages == [{"n": 1}, {"n": 2}]


async def test_silence_is_cut_and_opened_again() -> None:
    venue = FakeVenue(says(b'{"n": 1}\n'), says(b'{"n": 2}\n'))
    async with venue.stream(heartbeat_deadline_s=0.1):
        await until(lambda: len(venue.reader.messages) >= 2)
    assert venue.of("StreamReconnected")[0].cause == "silent"
    assert venue.reader.openings >= 2


async def test_opening_without_a_word_does_not_hide_the_silence() -> None:
    venue = FakeVenue(says(b'{"n": 1}\n', then=ends), forever)
    async with venue.stream(heartbeat_deadline_s=0.05) as stream:
        await until(lambda: venue.reader.openings >= 4)
        assert stream.silence_s >= 0.1, "of two openings at least"
        assert not stream.is_alive


async def test_every_end_has_its_cause_and_is_opened_again() -> None:
    venue = FakeVenue(says(then=ends), says(b"<html>\n"), says(b'{"bad": true}\n'), 503, says(b'{"n": 1}\n'))
    async with venue.stream():
        await until(lambda: bool(venue.reader.messages))
    causes = [event.cause for event in venue.of("StreamReconnected")]
    assert causes == ["closed_by_venue", "undecodable", "message_failed", "http_5xx"]
    assert len(venue.of("StreamDecodeError")) == 2


async def test_dead_token_is_asked_once_and_the_next_one_used_at_once() -> None:
    venue = FakeVenue(401, says(b'{"n": 1}\n'))
    async with venue.stream() as stream:
        await until(lambda: bool(venue.tokens.rejected))
        await asyncio.sleep(0.05)
        assert (len(venue.requests), stream.reason) == (1, "not_authorized")
        venue.token = Secret("second")
        await until(lambda: bool(venue.reader.messages))
    assert [request.headers["Authorization"] for request in venue.requests] == ["Bearer first", "Bearer second"]


async def test_a_gateways_403_leaves_the_token_as_it_is_and_is_asked_again() -> None:
    venue = FakeVenue("<html>forbidden</html>", says(b'{"n": 1}\n'))
    async with venue.stream():
        await until(lambda: bool(venue.reader.messages))
    assert venue.tokens.rejected == []
    assert [event.cause for event in venue.of("StreamReconnected")] == ["http_4xx"]


async def test_new_token_moves_a_living_stream_over() -> None:
    async def beats(response: web.StreamResponse) -> None:
        while True:
            await response.write(b'{"type": "HEARTBEAT"}\n')
            await asyncio.sleep(0.005)

    venue = FakeVenue(beats)
    async with venue.stream():
        await until(lambda: bool(venue.reader.messages))
        venue.token = Secret("second")
        await until(lambda: len(venue.requests) == 2)
    assert [event.cause for event in venue.of("StreamReconnected")] == ["token_changed"]


async def test_status_is_told_when_it_turns() -> None:
    venue = FakeVenue(says(b'{"n": 1}\n', then=ends), says(b'{"n": 2}\n'))
    async with venue.stream():
        await until(lambda: len(venue.reader.messages) == 2)
    assert [(event.up, event.reason) for event in venue.of("ConnectionStatus")] == [
        (1, None),
        (0, "closed_by_venue"),
        (1, None),
        (0, "stopped"),
    ]
