from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.venue.rest import http_connection
from broker.venue.rest.http_connection import ClosedConnectionError, HttpAnswer, HttpConnection

REQUEST = b"GET / HTTP/1.1\r\nHost: venue\r\n\r\n"
DEADLINE_S = 30.0
ANSWER = b"HTTP/1.1 200 OK\r\nRequestID: 42\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER
UNDELIMITED = b"HTTP/1.1 200 OK\r\n\r\n{}"


class FakeTransport(asyncio.Transport):
    """Keeps what is written, and tells that it is closed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed_by = ""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return bool(self.closed_by)

    def close(self) -> None:
        self.closed_by = self.closed_by or "close"

    def abort(self) -> None:
        self.closed_by = self.closed_by or "abort"


def opened() -> tuple[HttpConnection, FakeTransport]:
    connection, transport = HttpConnection(), FakeTransport()
    connection.connection_made(transport)
    return connection, transport


@asynccontextmanager
async def asking(connection: HttpConnection, deadline_s: float = DEADLINE_S) -> AsyncIterator[asyncio.Task[HttpAnswer]]:
    """A request that was written and waits for its answer."""
    task = asyncio.create_task(connection.exchange(REQUEST, deadline_s))
    await asyncio.sleep(0)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_request_is_written_whole_and_its_answer_returned() -> None:
    connection, transport = opened()
    async with asking(connection) as task:
        connection.data_received(ANSWER)
        assert await task == HttpAnswer(200, {"requestid": "42", "content-length": "2"}, b"{}")
    assert transport.written == REQUEST
    assert connection.is_open


@pytest.mark.parametrize("whole", [ANSWER, CHUNKED, CONTINUED])
@given(cuts=st.lists(st.integers(min_value=0, max_value=120), max_size=6))
def test_answer_is_the_same_however_it_is_cut(whole: bytes, cuts: list[int]) -> None:
    async def scenario() -> HttpAnswer:
        connection, _ = opened()
        async with asking(connection) as task:
            places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
            for start, end in pairwise(places):
                connection.data_received(whole[start:end])
            return await task

    answer = asyncio.run(scenario())
    assert (answer.status, answer.body) == (200, b"{}")


def zipped(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + body


async def test_answer_that_the_venue_zips_unasked_is_unzipped() -> None:
    connection, _ = opened()
    async with asking(connection) as task:
        connection.data_received(zipped(gzip.compress(b'{"orderBook": {}}')))
        assert (await task).body == b'{"orderBook": {}}'
    assert connection.is_open


@pytest.mark.parametrize(
    "body",
    [b"{}", gzip.compress(b"{}")[:-9], gzip.compress(bytes(http_connection.MAX_ANSWER_BYTES + 1))],
    ids=["no gzip", "cut", "too large"],  # not by the bytes, which hold the time
)
async def test_answer_that_cannot_be_unzipped_or_is_too_large_then_is_none(body: bytes) -> None:
    connection, _ = opened()
    async with asking(connection) as task:
        connection.data_received(zipped(body))
        with pytest.raises(ConnectionError, match="no gzip"):
            await task
    assert not connection.is_open


async def test_answer_that_says_gzip_and_has_no_body_keeps_its_status() -> None:
    connection, _ = opened()
    async with asking(connection) as task:
        connection.data_received(zipped(b"").replace(b"200 OK", b"503 Busy"))
        assert ((await task).status, (await task).body) == (503, b"")


async def test_nothing_is_written_behind_the_venues_end_although_the_transport_is_open_still() -> None:
    connection, transport = opened()
    connection.eof_received()  # over TLS the transport closes some turns of the loop later
    assert not transport.is_closing()
    assert not connection.is_open
    with pytest.raises(ClosedConnectionError):
        await connection.exchange(REQUEST, DEADLINE_S)
    assert transport.written == b""


async def test_answers_follow_one_another_on_one_connection() -> None:
    connection, _ = opened()
    for body in (b"{}", b"[]"):
        async with asking(connection) as task:
            connection.data_received(ANSWER.replace(b"{}", body))
            assert (await task).body == body


async def test_venue_that_says_close_gets_no_further_request() -> None:
    connection, transport = opened()
    async with asking(connection) as task:
        connection.data_received(ANSWER.replace(b"RequestID: 42", b"Connection: close"))
        assert (await task).status == 200
    assert not connection.is_open
    written = transport.written
    with pytest.raises(ClosedConnectionError):
        await connection.exchange(REQUEST, DEADLINE_S)
    assert transport.written == written, "not a byte of it was written"


async def test_answer_without_a_length_ends_with_the_connection() -> None:
    connection, _ = opened()
    async with asking(connection) as task:
        connection.data_received(UNDELIMITED)
        assert not task.done()
        connection.connection_lost(None)
        assert (await task).body == b"{}"


@pytest.mark.parametrize("part", [b"", ANSWER[:20], ANSWER[:-1], CHUNKED[:-3]])
@pytest.mark.parametrize("error", [None, ConnectionResetError("reset")])
async def test_end_of_the_connection_cuts_an_answer_short(part: bytes, error: Exception | None) -> None:
    connection, _ = opened()
    async with asking(connection) as task:
        if part:
            connection.data_received(part)
        connection.connection_lost(error)
        with pytest.raises(ConnectionError):
            await task


async def test_deadline_of_an_answered_request_does_not_end_the_next_one() -> None:
    connection, _ = opened()
    async with asking(connection, 0.02) as first:
        connection.data_received(ANSWER)
        await first
    async with asking(connection) as second:
        await asyncio.sleep(0.05)
        connection.data_received(ANSWER)
        assert (await second).status == 200


async def test_shorter_deadline_holds_behind_a_longer_one() -> None:
    connection, transport = opened()
    async with asking(connection) as first:
        connection.data_received(ANSWER)
        await first
    async with asking(connection, 0.02) as second, asyncio.timeout(DEADLINE_S / 2):
        with pytest.raises(TimeoutError, match=r"within 0\.02 s"):
            await second
    assert transport.closed_by == "abort"


async def test_silence_ends_at_the_deadline_and_aborts() -> None:
    connection, transport = opened()
    with pytest.raises(TimeoutError):
        await connection.exchange(REQUEST, 0.001)
    assert transport.closed_by == "abort"


async def test_caller_that_leaves_takes_the_connection_with_it() -> None:
    connection, transport = opened()
    async with asking(connection) as task:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert transport.closed_by == "abort", "the answer would be taken for the next request's"


@pytest.mark.parametrize("data", [ANSWER, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
async def test_bytes_that_nobody_asked_for_close_an_idle_connection(data: bytes) -> None:
    connection, transport = opened()
    connection.data_received(data)
    assert transport.closed_by == "abort"


@pytest.mark.parametrize("data", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", ANSWER * 2])
async def test_anything_but_one_answer_is_an_error(data: bytes) -> None:
    connection, transport = opened()
    async with asking(connection) as task:
        connection.data_received(data)
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
    assert isinstance(outcome, ConnectionError) or not connection.is_open
    assert transport.closed_by


async def test_answer_beyond_the_bound_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.venue.rest.http_connection.MAX_ANSWER_BYTES", 100)
    connection, _ = opened()
    async with asking(connection) as task:
        connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        connection.data_received(b"x" * 100)
        with pytest.raises(ConnectionError):
            await task


async def test_trailer_behind_the_body_says_nothing_of_how_to_read_it() -> None:
    connection, _ = opened()
    async with asking(connection) as task:
        connection.data_received(CHUNKED.removesuffix(b"\r\n") + b"Content-Encoding: gzip\r\n\r\n")
        answer = await task
    assert (answer.headers, answer.body) == ({"transfer-encoding": "chunked"}, b"{}")
