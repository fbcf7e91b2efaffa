"""A pod in a storm: kills, stops, full and slow volumes, few descriptors, little memory, clocks, strangers.

CHAOS_S is the length (an hour in `make soak`), CHAOS_SEED the seed; both are printed. Nobody is killed in the last two
thirds, so that processes live long enough to show a trend of memory or descriptors.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

import aiohttp
import pytest

from broker_client import BrokerClient
from devstack.settings import temporary_place
from devstack.status import settle
from tests.e2e.chaos.books import (
    Documents,
    answer_faults,
    count_faults,
    ledger_faults,
    venue_books,
    venue_faults,
    whole_history,
)
from tests.e2e.chaos.callers import Callers
from tests.e2e.chaos.memory_group import has_memory_groups
from tests.e2e.chaos.pod import OURS, Pod, Sample
from tests.e2e.chaos.storm import Storm
from tests.otlp_receiver import OtlpReceiver
from tests.require import require_binary

pytestmark = [pytest.mark.real, pytest.mark.slow]
FOR_S = float(os.environ.get("CHAOS_S", "30"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
ORDERS_PER_S = float(os.environ.get("CHAOS_ORDERS_PER_S", "20"))
STRANGERS = int(os.environ.get("CHAOS_STRANGERS", "200"))
LONGEST_FAULT_S = min(20.0, FOR_S / 10)

LAST_WORDS_S = 120.0
"""Time for the final words of all orders, after the last fault."""


def figures(pod: Pod, storm: Storm, callers: Callers) -> str:
    """Lines of what was measured: for people, and never asserted."""
    lines = [f"faults {dict(storm.counts)}", f"orders {callers.sent}, repeated by callers {dict(callers.repeats)}"]
    if storm.recoveries_s:
        slowest = sorted(storm.recoveries_s, reverse=True)[:5]
        lines.append("slowest final words behind a fault: " + ", ".join(f"{s:.1f} s ({name})" for s, name in slowest))
    if len(pod.livez_s) > 1:
        ranks = quantiles(pod.livez_s, n=100)
        lines.append(f"/livez p50 {ranks[49] * 1000:.0f} ms, p99 {ranks[98] * 1000:.0f} ms, of {len(pod.livez_s)}")
    lines += [trend(name, pod.samples[name]) for name in OURS if pod.samples[name]]
    lines.append(f"starts refused {dict(pod.refused_starts)}")
    return "\n".join(lines)


def trend(name: str, samples: Sequence[Sample]) -> str:
    """Memory and descriptors of the process that lived last: at its end, against its fifth minute."""
    life = [samples[-1]]
    for item in reversed(samples[:-1]):
        if item.age_s > life[-1].age_s:
            break
        life.append(item)
    life.reverse()
    young = [item for item in life if 270 <= item.age_s <= 330] or life[:6]
    ratio = median(item.resident_bytes for item in life[-12:]) / median(item.resident_bytes for item in young)
    return (
        f"{name} lived {life[-1].age_s:.0f} s: memory {ratio:.2f} x to {life[-1].resident_bytes >> 20} MiB, "
        f"descriptors {young[0].descriptors} to {life[-1].descriptors}"
    )


async def blow(storm: Storm) -> None:
    """Lets the callers trade through the whole storm, and waits for their last words."""
    began, ended = time.monotonic(), asyncio.Event()
    trading = asyncio.create_task(storm.callers.run(ORDERS_PER_S, ended))
    async with asyncio.TaskGroup() as lanes:
        lanes.create_task(storm.lane(storm.deadly, began + FOR_S / 3))
        for faults in storm.lanes:
            lanes.create_task(storm.lane(faults, began + FOR_S))
    ended.set()
    await asyncio.wait([trading], timeout=LAST_WORDS_S)
    trading.cancel()
    await asyncio.wait([trading])


async def test_after_a_storm_all_books_agree(tmp_path: Path) -> None:
    require_binary("cc")
    print(f"CHAOS_SEED={SEED} CHAOS_S={FOR_S}")
    chance = random.Random(SEED)
    async with OtlpReceiver() as receiver:
        with temporary_place() as place:
            async with Pod(place, SEED, receiver.endpoint) as pod:
                callers = Callers(pod.stack.addresses["api"], pod.stack.api_key, chance)
                storm = Storm(
                    pod,
                    receiver,
                    callers,
                    chance,
                    longest_s=LONGEST_FAULT_S,
                    strangers=STRANGERS,
                    limits_memory=has_memory_groups(),
                    scratch=tmp_path,
                )
                documents = Documents(receiver)
                async with asyncio.TaskGroup() as background:
                    watching = [background.create_task(pod.supervise(name)) for name in OURS]
                    watching += [background.create_task(work) for work in (pod.watch(), documents.fold_always())]
                    await blow(storm)
                    await pod.stack.wait_ready(60)
                    async with aiohttp.ClientSession() as session:
                        reading = await settle(pod.stack, session, deadline_s=120)
                        venue = await venue_books(pod.stack, session)
                    async with BrokerClient(pod.stack.addresses["api"], api_key=pod.stack.api_key) as broker:
                        history = await whole_history(broker, {ids[-1] for ids in callers.ids.values()}, 60)
                    for task in watching:
                        task.cancel()
            documents.fold()
            print(figures(pod, storm, callers))
            print(f"{len(documents.ids)} documents, {documents.redelivered} redelivered")
            faults = answer_faults(callers, venue, history) + venue_faults(venue, history)
            faults += count_faults(history, {"metrics": reading.orders, "log records": documents.statuses})
            faults += pod.unexpected_ends + ledger_faults(reading.status, len(documents.ids))
            print("\n".join(faults[:100]))
            assert len(faults) == 0
    assert storm.counts
