"""A broker that lacks space or descriptors for a while: it says so, does all else, and then goes on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.integration.api.broker_process import Stand, standing
from tests.integration.faults.small_volume import filled, no_descriptor_left, on_small_volume
from tests.unit.broker.secret_volume import publish, usual_files

HALT = {"state": "halted", "reason": "drill"}


async def test_full_volume_stops_new_orders_and_nothing_else(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        orders = tmp_path / "orders"
        stand.by = on_small_volume(orders, "2m")
        # Without space for renewals the account would be lost within the test.
        stand.changed["orders"] = {"lease_s": 6.0, "sample_s": 0.2}
        broker = await stand.start_ready()
        _, resting = await stand.place_order(type="limit", price="1.05")
        first = (await stand.place_order())[1]
        with filled(broker.child.pid, orders):
            while (answer := await stand.place_order())[0] == 201:
                pass  # the journal's last page has room for a few
            status, told = answer
            assert (status, told["reason"]) == (503, "JournalFailed")
            await stand.until("Journal", ok=False)
            await asyncio.sleep(7)
            assert (await stand.condition("Ownership"))["ok"], "the lease needs no space"
            assert (await stand.call("GET", f"/v1/orders/{first['id']}"))[0] == 200
            cancelled = await stand.call("DELETE", f"/v1/orders/{resting['id']}")
            assert (cancelled[0], cancelled[1]["status"]) == (200, "cancelled")
            assert (await stand.call("PUT", "/v1/admin/state", json=HALT))[0] == 200
        await stand.until("Journal", ok=True)
        assert (await stand.call("PUT", "/v1/admin/state", json=HALT | {"state": "active"}))[0] == 200
        assert (await stand.place_order())[0] == 201
        async with asyncio.timeout(30):
            # The history reads the journal, in which the cancel is now, too.
            while await past_status(stand, resting["id"]) != "cancelled":
                await asyncio.sleep(0.1)
        assert await broker.end() == 0


async def test_broker_that_starts_on_a_full_volume_says_so_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        state = tmp_path / "state"
        stand.by = on_small_volume(state, "2m", is_filled=True)
        stand.changed["orders"] = {"directory": str(state / "orders"), "sample_s": 0.2}
        stand.changed["telemetry"] = {"spool_directory": str(state / "spool")}
        stand.changed["history"] = {"url": f"sqlite+aiosqlite:///{state / 'history.sqlite'}"}
        publish(stand.secrets, 1, usual_files())
        broker = await stand.start_broker()
        async with asyncio.timeout(30):
            # 503 before it has read its keys.
            while (await stand.call("GET", "/v1/admin/conditions"))[0] != 200:
                await asyncio.sleep(0.02)
            while "No space left" not in (await stand.condition("Ownership"))["message"]:
                await asyncio.sleep(0.02)
        refused = await stand.place_order()
        assert (refused[0], refused[1]["reason"]) == (503, "OSError")
        Path(f"/proc/{broker.child.pid}/root{state}/filler").unlink()
        await broker.event("ready")
        assert (await stand.place_order())[0] == 201
        assert await broker.end() == 0


async def past_status(stand: Stand, order_id: str) -> str:
    _, page = await stand.call("GET", "/v1/history/orders?limit=500")
    return str({order["id"]: order["status"] for order in page["orders"]}.get(order_id))


async def test_broker_without_a_descriptor_goes_on_when_it_has_some(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        stand.changed["orders"] = {"lease_s": 2.0, "sample_s": 0.2}
        broker = await stand.start_ready()
        with no_descriptor_left(broker.child.pid):
            await asyncio.sleep(6)
            assert broker.child.returncode is None
        await stand.until("Ownership", ok=True)
        await stand.until("Transactions", ok=True)
        await stand.until("Prices", ok=True)
        assert (await stand.place_order())[0] == 201
        assert await broker.end() == 0


def test_log_on_a_full_volume_costs_neither_a_line_elsewhere_nor_the_exit_code() -> None:
    program = "from pod_runtime import log; import logging; log.configure('x'); logging.warning('full')"
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
