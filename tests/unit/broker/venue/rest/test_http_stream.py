from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.venue.rest import http_stream
from broker.venue.rest.http_stream import MAX_HEAD_BYTES, HttpStream

REQUEST = b"GET / HTTP/1.1\r\nHost: venue\r\n\r\n"
DEADLINE_S = 30.0
UNDELIMITED = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class FakeTransport(asyncio.Transport):
    """Keeps what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_aborted = False
        self.is_paused = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


def opened() -> tuple[HttpStream, FakeTransport]:
    stream, transport = HttpStream(), FakeTransport()
    stream.connection_made(transport)
    return stream, transport


async def answered(stream: HttpStream, *answers: bytes) -> None:
    asking = asyncio.create_task(stream.ask(REQUEST, DEADLINE_S))
    await asyncio.sleep(0)
    for part in answers:
        stream.data_received(part)
    await asking


async def rest(stream: HttpStream) -> bytes:
    found = b""
    while part := await stream.read(DEADLINE_S):
        found += part
    return found


async def test_request_is_written_and_the_status_told() -> None:
    stream, transport = opened()
    await answered(stream, b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    assert (transport.written, stream.status) == (REQUEST, 503)


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=5), st.integers(1, 40))
async def test_body_comes_whole_however_it_is_cut(parts: list[bytes], size: int) -> None:
    stream, _ = opened()
    text = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    await answered(stream, *(text[start : start + size] for start in range(0, len(text), size)))
    assert await rest(stream) == b"".join(parts)


async def test_part_comes_before_the_end_of_the_answer() -> None:
    stream, transport = opened()
    await answered(stream, UNDELIMITED + b"{}\n")
    assert await stream.read(DEADLINE_S) == b"{}\n"
    reading = asyncio.create_task(stream.read(DEADLINE_S))
    await asyncio.sleep(0)
    stream.data_received(b"[]\n")
    assert await reading == b"[]\n"
    assert not transport.is_aborted


async def test_end_of_the_connection_ends_a_body_without_an_end_of_its_own() -> None:
    stream, _ = opened()
    await answered(stream, UNDELIMITED + b"{}\n")
    stream.connection_lost(None)
    assert await rest(stream) == b"{}\n"


async def test_connection_that_ends_within_a_body_is_a_fault_behind_what_came() -> None:
    stream, _ = opened()
    await answered(stream, CHUNKED + b"3\r\n{}\n\r\n")
    stream.connection_lost(None)
    assert await stream.read(DEADLINE_S) == b"{}\n"
    with pytest.raises(ConnectionResetError):
        await stream.read(DEADLINE_S)


async def test_connection_that_ends_before_an_answer_is_a_fault() -> None:
    stream, _ = opened()
    asking = asyncio.create_task(stream.ask(REQUEST, DEADLINE_S))
    await asyncio.sleep(0)
    stream.connection_lost(None)
    with pytest.raises(ConnectionResetError):
        await asking
    with pytest.raises(ConnectionResetError):
        await opened_and_aborted().ask(REQUEST, DEADLINE_S)


def opened_and_aborted() -> HttpStream:
    stream, _ = opened()
    stream.abort()
    return stream


async def test_silence_ends_at_the_deadline_and_aborts() -> None:
    stream, transport = opened()
    await answered(stream, UNDELIMITED)
    with pytest.raises(TimeoutError, match="nothing within"):
        await stream.read(0.001)
    assert transport.is_aborted


async def test_what_is_no_http_is_a_fault() -> None:
    stream, transport = opened()
    with pytest.raises(ConnectionError, match="no HTTP"):
        await answered(stream, b"SSH-2.0\r\n\r\n")
    assert transport.is_aborted


async def test_head_without_end_is_a_fault() -> None:
    stream, _ = opened()
    with pytest.raises(ConnectionError, match="without the end of a head"):
        await answered(stream, b"HTTP/1.1 200 OK\r\nA: ", b"a" * (MAX_HEAD_BYTES + 1))


async def test_slow_reader_stops_the_socket_until_it_has_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_stream, "PAUSE_BYTES", 10)
    stream, transport = opened()
    await answered(stream, UNDELIMITED + b"a" * 10)
    assert not transport.is_paused
    stream.data_received(b"a")
    assert transport.is_paused
    assert len(await stream.read(DEADLINE_S)) == 11
    assert not transport.is_paused


async def test_reader_that_leaves_can_come_again() -> None:
    stream, _ = opened()
    await answered(stream, UNDELIMITED)
    reading = asyncio.create_task(stream.read(DEADLINE_S))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    stream.data_received(b"{}\n")
    assert await stream.read(DEADLINE_S) == b"{}\n"
