"""A journal of version 1 as it was first written: every later version reads it."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

from broker.domain import OrderStatus
from broker.orders.model.trading_state import TradingState
from broker.orders.store.index import OrderIndex
from broker.orders.store.journal import OrderJournal
from tests.unit.broker.orders.samples import make_store

GOLDEN = Path(__file__).parent / "data" / "journal-v1.bin"


def test_golden_journal_of_version_1_is_read(tmp_path: Path) -> None:
    shutil.copy(GOLDEN, tmp_path / f"{100:020d}.journal")
    journal = OrderJournal(tmp_path, segment_bytes=1 << 20, keep_bytes=1 << 20, emit=lambda _: None)
    index = OrderIndex(remember_orders=10, remember_s=60)
    store = make_store(journal, index)
    store.open()

    filled, unknown = index.get("01ORDER"), index.get("02ORDER")
    assert filled is not None
    assert unknown is not None
    assert (filled.status, filled.order.fills[0].price, filled.checkpoint) == (
        OrderStatus.FILLED,
        Decimal("1.10010"),
        6,
    )
    assert filled.order.request.take_profit is not None
    assert (unknown.status, unknown.key) == (OrderStatus.UNKNOWN, ("flow", "second"))
    assert (store.control.state, store.control.applied) == (TradingState.HALTED, 9)
    assert journal.written == 108
