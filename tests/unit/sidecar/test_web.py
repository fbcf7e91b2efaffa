from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from pod_runtime.ports import parse_address
from sidecar.web import CONNECTIONS, HEAD_BYTES, bind, serve_http


@pytest.mark.parametrize(("request_", "status"), [("GET / HTTP/1.1\r\nHost: x", 404), ("GET / HTTP/1.1\r\n: x", 400)])
async def test_no_answer_names_the_versions_of_the_server(request_: str, status: int) -> None:
    server, stop = bind("probes", web.Application(), "127.0.0.1:0"), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_http(server, stop))
        reader, writer = await asyncio.open_connection(*parse_address(server.address))
        writer.write(f"{request_}\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        stop.set()
    assert answer.startswith((f"HTTP/1.1 {status} ", f"HTTP/1.0 {status} "))
    assert "Server: sidecar\r\n" in answer
    assert "aiohttp" not in answer


async def test_connection_beyond_the_bound_takes_the_place_of_the_oldest() -> None:
    server, stop = bind("probes", web.Application(), "127.0.0.1:0"), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_http(server, stop))
        opened = [await asyncio.open_connection(*parse_address(server.address)) for _ in range(CONNECTIONS + 1)]
        newest, writer = opened[-1]
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await newest.read()).startswith(b"HTTP/1.1 404 ")
        assert await opened[0][0].read() == b""
        for _, writer in opened:
            writer.close()
            await writer.wait_closed()
        stop.set()
    assert server.refused["evicted"] == 1


@pytest.mark.parametrize("rest", [b"x" * HEAD_BYTES, b"\r\n".join(b"a: b" for _ in range(HEAD_BYTES // 6))])
async def test_incomplete_head_beyond_the_bound_is_refused(rest: bytes) -> None:
    server, stop = bind("probes", web.Application(), "127.0.0.1:0"), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_http(server, stop))
        reader, writer = await asyncio.open_connection(*parse_address(server.address))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + rest)
        assert (await reader.read()).startswith((b"HTTP/1.1 431 ", b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
        writer.close()
        await writer.wait_closed()
        stop.set()
