"""Connections that say nothing, against the whole sidecar: a probe is answered, and nothing ends."""

from __future__ import annotations

import asyncio
import resource

import pytest

from tests.integration.api.strangers import strangers
from tests.integration.sidecar.sidecar_process import running, settings, short_directory

pytestmark = pytest.mark.real


@pytest.mark.parametrize("name", ["probes", "metrics", "console"])
async def test_probe_is_answered_while_strangers_hold_connections(name: str) -> None:
    async with short_directory() as directory, running(settings(directory), directory) as process:
        address = process.url(name)
        resource.prlimit(process.child.pid, resource.RLIMIT_NOFILE, (512, 512))
        async with strangers(address, 300):
            for _ in range(5):
                assert (await process.get("probes", "/livez"))[0] == 200
                assert (await process.get("metrics", "/metrics"))[0] == 200
                await asyncio.sleep(0.1)
        assert await process.end() == 0


async def test_head_beyond_the_bounds_is_refused_while_it_is_incomplete() -> None:
    async with short_directory() as directory, running(settings(directory), directory) as process:
        for name in ("probes", "metrics", "console"):
            host, _, port = process.listening[name].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /livez HTTP/1.1\r\nHost: pod\r\n" + b"X-One: %s\r\n" % (b"x" * 4000) * 9)
            assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
            writer.close()
            await writer.wait_closed()
        assert await process.end() == 0
