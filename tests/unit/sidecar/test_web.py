from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from pod_runtime.ports import parse_address
from sidecar.web import bind, serve_http


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
