"""Answers that are not the collector's: of a proxy, of a broken connection, of nobody. None of them costs a record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import h2.config
import h2.connection
import h2.events
import pytest
from h2.errors import ErrorCodes

from tests.otlp_receiver import OtlpReceiver
from tests.unit.sidecar.export.test_exporter import exporter, running, settings
from tests.unit.sidecar.fake_journal import MemoryJournal, orders

Answer = Callable[[h2.connection.H2Connection, int], None]


def http(status: int) -> Answer:
    def answer(connection: h2.connection.H2Connection, stream: int) -> None:
        connection.send_headers(stream, [(":status", str(status)), ("content-type", "text/html")])
        connection.send_data(stream, b"<html>", end_stream=True)

    return answer


def reset(code: ErrorCodes) -> Answer:
    return lambda connection, stream: connection.reset_stream(stream, code)


def unreadable(connection: h2.connection.H2Connection, stream: int) -> None:
    """A gRPC answer with the status OK, whose message is none."""
    connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    connection.send_data(stream, b"\0\0\0\0\3\xff\xff\xff")
    connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)


def without_status(connection: h2.connection.H2Connection, stream: int) -> None:
    connection.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    connection.send_headers(stream, [("x-proxy", "1")], end_stream=True)


@asynccontextmanager
async def answering(answer: Answer, then: OtlpReceiver, times: int) -> AsyncIterator[str]:
    """An endpoint that answers so many requests itself, and gives later connections to the receiver."""
    left = times
    ended: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        ended.add(asyncio.current_task())  # type: ignore[arg-type] # it is one
        if left <= 0:
            await relay(reader, writer, then.port)
            return
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while left > 0 and (data := await reader.read(1 << 16)):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, h2.events.StreamEnded) and left > 0:
                    left -= 1
                    answer(connection, event.stream_id)
            writer.write(connection.data_to_send())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Passes bytes on in both directions until one side ends."""
    other_reader, other_writer = await asyncio.open_connection("localhost", port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
        sink.close()

    try:
        await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))
    finally:
        for each in (writer, other_writer):
            each.close()


def named(answers: Iterable[tuple[str, Answer]]) -> list[object]:
    return [pytest.param(answer, id=name) for name, answer in answers]


@pytest.mark.parametrize(
    "answer",
    named(
        [
            *((f"HTTP {status}", http(status)) for status in (200, 302, 400, 401, 403, 404, 407, 429, 500, 502, 503)),
            ("internal", reset(ErrorCodes.INTERNAL_ERROR)),
            ("calm", reset(ErrorCodes.ENHANCE_YOUR_CALM)),
            ("refused", reset(ErrorCodes.REFUSED_STREAM)),
            ("cancel", reset(ErrorCodes.CANCEL)),
            ("no status", without_status),
            ("unreadable", unreadable),
        ]
    ),
)
async def test_no_answer_of_another_drops_a_record(answer: Answer) -> None:
    journal = MemoryJournal([orders(1, 16, end=10)])
    async with (
        OtlpReceiver() as receiver,
        answering(answer, receiver, times=4) as endpoint,
        running(exporter(journal, settings(endpoint))),
    ):
        await receiver.wait_records(16)
    assert (journal.exported, dict(journal.rejected)) == (16, {})


async def test_a_request_that_is_too_large_for_a_proxy_is_halved() -> None:
    journal = MemoryJournal([orders(1, 16, end=10)])
    async with (
        OtlpReceiver() as receiver,
        answering(http(413), receiver, times=2) as endpoint,
        running(exporter(journal, settings(endpoint))),
    ):
        await receiver.wait_records(16)
    assert journal.exported == 16
    assert len(receiver.log_requests) == 3, "a quarter, a quarter and a half"


async def test_a_connection_that_says_nothing_is_replaced() -> None:
    journal = MemoryJournal([orders(1, 3, end=10)])
    frozen: list[asyncio.StreamWriter] = []
    async with OtlpReceiver() as receiver:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not frozen:
                frozen.append(writer)
                return
            with suppress(asyncio.CancelledError):
                await relay(reader, writer, receiver.port)

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with running(exporter(journal, settings(endpoint, timeout_s=0.5))):
                await receiver.wait_records(3)
        frozen[0].close()
    assert journal.exported == 3


@pytest.mark.parametrize("variable", ["http_proxy", "grpc_proxy", "https_proxy"])
async def test_a_proxy_of_the_environment_is_not_used(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    journal = MemoryJournal([orders(1, 3, end=10)])
    async with OtlpReceiver() as receiver, running(exporter(journal, settings(f"http://127.0.0.1:{receiver.port}"))):
        await receiver.wait_records(3)
    assert journal.exported == 3
