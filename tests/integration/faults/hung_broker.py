"""`python -m tests.integration.faults.hung_broker --config FILE`: a broker of which no ended term comes to its end.

As with a fault of ours that nothing else bounds: the close of its journal waits for ever.
"""

from __future__ import annotations

import asyncio

from broker.__main__ import main
from broker.orders.store.journal import OrderJournal


async def _never(_: OrderJournal) -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    OrderJournal.close = _never  # type: ignore[method-assign, assignment]
    main(prog_name="broker")
