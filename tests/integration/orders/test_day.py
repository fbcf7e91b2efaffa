"""A day at the venue with everything at once: kills, faults on one request in a hundred, tokens that rotate.

The venue's clock runs through 24 hours from a Tuesday noon, so that financing is charged once if there is a position
then. DAY_KILLS (default 6; 144 is one in ten minutes) is the number of kills and SEED their seed; both are printed.
Tokens rotate more often than once an hour. At the end the venue's account and our books agree to the cent.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.simulator.clock import SimulatedClock
from broker.simulator.faults import FaultRule
from broker.simulator.http.server import Simulator
from tests.integration.orders.test_kills import records, run_once, transactions
from tests.integration.orders.trader import answers
from tests.integration.orders.writes import VenueTruth, told_otherwise

pytestmark = [pytest.mark.real, pytest.mark.slow]
KILLS = int(os.environ.get("DAY_KILLS", "6"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
ORDERS_PER_KILL = 20
FAULTS = (
    "hang",
    "reset_before",
    "reset_after",
    "half_body",
    "error_before",
    "error_after",
    "html",
    "rate_limited",
    "lag",
)
ROTATION_S = 1.5
DAY_S = 86_400
FINANCING = "2026-01-06T22:00:00"
"""17:00 in New York."""
NOON_NS = int(datetime(2026, 1, 6, 12, tzinfo=UTC).timestamp()) * 10**9


def has_position(log: list[dict[str, Any]], *, before: str) -> bool:
    """True if the fills before that time leave a position."""
    held: Counter[str] = Counter()
    for item in log:
        if item["type"] == "ORDER_FILL" and item["time"] < before:
            held[item["instrument"]] += int(item["units"])
    return any(held.values())


async def rotate(simulator: Simulator, token_file: Path) -> None:
    """The next token is accepted before it is handed over, and the old one revoked after a while."""
    number = 0
    while True:
        await asyncio.sleep(ROTATION_S)
        number += 1
        old, new = token_file.read_text(), f"token-{number}"
        simulator.venue.tokens.add(new)
        scratch = token_file.with_suffix(".new")
        scratch.write_text(new)
        scratch.replace(token_file)
        await asyncio.sleep(ROTATION_S / 2)
        simulator.venue.tokens.discard(old)


async def test_kills_faults_and_rotation_together_leave_equal_accounts(tmp_path: Path) -> None:
    print(f"DAY_KILLS={KILLS} SEED={SEED}")
    chance = random.Random(SEED)
    token_file = tmp_path / "token"
    token_file.write_text("token-0")
    ahead_ns = NOON_NS - time.time_ns()
    async with Simulator(
        seed=SEED,
        tokens=("token-0",),
        requests_per_s=0,
        latency_s=0.004,
        clock=SimulatedClock(source=lambda: time.time_ns() + ahead_ns),
    ) as simulator:
        for kind in FAULTS:
            simulator.venue.faults.rules.append(FaultRule(kind=kind, count=-1, chance=0.01 / len(FAULTS), seconds=0.3))
        rotating = asyncio.create_task(rotate(simulator, token_file))
        for kills in range(1, KILLS + 1):
            await run_once(simulator.rest_url, tmp_path, kills * ORDERS_PER_KILL, kill_at=chance.randrange(50, 2500))
            simulator.venue.clock.move(DAY_S / KILLS)
        last = await run_once(simulator.rest_url, tmp_path, KILLS * ORDERS_PER_KILL)
        rotating.cancel()
        log = await transactions(simulator, token_file.read_text())

    assert last is not None
    assert last["mismatches"] == []
    assert VenueTruth(log).differences(records(last)) == []
    assert told_otherwise(answers(tmp_path / "ledger"), records(last)) == []
    # The kill switch is one of the writes: it may have closed everything before the hour of financing.
    assert [item["type"] for item in log].count("DAILY_FINANCING") == has_position(log, before=FINANCING)
    balances = [item["accountBalance"] for item in log if "accountBalance" in item]
    assert last["balance"] == balances[-1]
