"""A sidecar that lacks space or descriptors for a while: nothing that it has acknowledged is lost."""

from __future__ import annotations

import asyncio

from tests.integration.faults.small_volume import filled, no_descriptor_left, on_small_volume
from tests.integration.sidecar.sidecar_process import Process, producer, running, settings, short_directory


async def test_full_volume_holds_events_back_and_loses_none() -> None:
    async with short_directory() as place:
        journal = place / "j"
        async with (
            running(settings(place), place, by=on_small_volume(journal, "2m")) as sidecar,
            producer(place) as client,
        ):
            await client.define()
            await client.emit(10)
            with filled(sidecar.child.pid, journal):
                # More than the rest of its last page.
                held = asyncio.create_task(client.emit(8000))
                async with asyncio.timeout(30):
                    while "JournalWritable" not in await failing(sidecar):
                        await asyncio.sleep(0.05)
                assert not held.done()
            assert await held == 8010
            assert "test_events_total" in (page := (await sidecar.get("metrics", "/metrics"))[1])
            assert " 8010\n" in page
            assert await sidecar.end() == 0
        assert sidecar.complaints == ""


async def test_sidecar_without_a_descriptor_goes_on_when_it_has_some() -> None:
    async with short_directory() as place:
        table = settings(place)
        table["telemetry"]["checkpoint_interval_s"] = 0.2
        (place / "secret-id").write_text("unused")
        table["secrets"] = {
            "address": "http://127.0.0.1:1",
            "auth": {
                "method": "approle",
                "role_id_file": str(place / "secret-id"),
                "secret_id_file": str(place / "secret-id"),
            },
            "directory": str(place / "published"),
            "lease_journal": str(place / "leases"),
            "require_tmpfs": False,
            "secrets": [{"name": "venue", "source": "kv", "path": "broker/venue", "files": [{"name": "venue.json"}]}],
        }
        async with running(table, place) as sidecar, producer(place) as client:
            await client.define()
            with no_descriptor_left(sidecar.child.pid):
                # Its stream was open before, and so was its segment.
                assert await client.emit(10) == 10
                await asyncio.sleep(6)
                assert sidecar.child.returncode is None
            assert await client.emit(10) == 20
            assert (await sidecar.get("probes", "/livez"))[0] == 200
            assert await sidecar.end() == 0


async def failing(sidecar: Process) -> set[str]:
    conditions = (await sidecar.status())["health"]["conditions"]
    return {item["name"] for item in conditions if not item["ok"]}
