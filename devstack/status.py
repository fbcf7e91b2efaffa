"""Report of a running stack on itself, as one line and as a summary."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from devstack.stack import Stack

DEADLINE = aiohttp.ClientTimeout(total=2)


@dataclass(slots=True)
class Reading:
    """Figures of one moment; what could not be read is absent."""

    orders: Counter[str] = field(default_factory=Counter)
    """By status, as `/metrics` counts them."""
    status: dict[str, Any] = field(default_factory=dict)
    """The sidecar's `/api/status`."""

    @property
    def exported(self) -> int:
        """Log records that the collector has."""
        return int(self.status.get("ledger", {}).get("logs", {}).get("exported", 0))


async def read(stack: Stack, session: aiohttp.ClientSession) -> Reading:
    """Asks the sidecar; never raises for one that does not answer."""
    found = Reading()
    try:
        async with session.get(f"{stack.addresses['metrics']}/metrics", timeout=DEADLINE) as answer:
            for family in text_string_to_metric_families(await answer.text()):
                if family.name == "broker_orders":
                    for sample in family.samples:
                        found.orders[sample.labels["status"]] += int(sample.value)
        async with session.get(f"{stack.addresses['console']}/api/status", timeout=DEADLINE) as answer:
            found.status = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return found
    return found


def line(reading: Reading, started_at: float, now: float, for_s: float | None = None) -> str:
    """One line: time (and how long it goes on), orders, fills, events, lease, ledger."""
    end = "" if for_s is None else f" of {for_s:.0f}"
    ledger = reading.status.get("ledger", {})
    parts = [
        f"{now - started_at:4.0f}{end} s",
        f"orders {reading.orders['received']}",
        f"fills {reading.orders['filled']}",
        f"events {ledger.get('counted', 0)}",
        f"logs out {reading.exported}",
        _lease(reading.status),
        "ledger balances" if is_balanced(ledger) else "ledger in flight",
    ]
    return " · ".join(parts)


def is_balanced(ledger: dict[str, Any]) -> bool:
    """True if received = counted + rejected + duplicate, and accepted = exported + rejected + queued + dropped."""
    logs = ledger.get("logs", {})
    taken = ledger.get("counted", 0) + _sum(ledger.get("rejected")) + ledger.get("duplicate", 0)
    gone = logs.get("exported", 0) + _sum(logs.get("rejected")) + logs.get("queued", 0) + _sum(logs.get("dropped"))
    return bool(ledger) and ledger.get("received") == taken and logs.get("accepted") == gone


def _sum(counts: Any) -> int:
    return sum(counts.values()) if isinstance(counts, dict) else int(counts or 0)


def _lease(status: dict[str, Any]) -> str:
    seconds = status.get("secrets", {}).get("token_expires_in_s")
    return f"Vault token {seconds:.0f} s left" if seconds is not None else "Vault token unknown"


async def settle(stack: Stack, session: aiohttp.ClientSession, deadline_s: float = 5.0) -> Reading:
    """The reading of the first moment of rest after the flow ended, or the last one before the deadline.

    A ledger balances also while the broker still holds the last events back for its batch: two readings must agree.
    """
    end, before = time.monotonic() + deadline_s, None
    while True:
        reading = await read(stack, session)
        ledger = reading.status.get("ledger", {})
        at_rest = is_balanced(ledger) and not ledger.get("logs", {}).get("queued") and reading.orders == before
        before = reading.orders
        if at_rest or time.monotonic() > end:
            return reading
        await asyncio.sleep(0.1)
