"""Two hundred orders at once just after the start, over the connections that there are by then."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.api.broker_process import standing

pytestmark = [pytest.mark.real, pytest.mark.slow]
ORDERS = 200


async def test_burst_after_the_start_is_taken_whole(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        await stand.start_ready()
        answers = await asyncio.gather(
            *(stand.place_order(client_order_id=f"burst-{number}") for number in range(ORDERS))
        )
        assert stand.broker is not None
        assert await stand.broker.end() == 0
    assert Counter((status, body.get("status")) for status, body in answers) == {(201, "filled"): ORDERS}
