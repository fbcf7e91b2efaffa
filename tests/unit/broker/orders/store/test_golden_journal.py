"""A journal of version 1 as it was first written: every later version reads it."""

from __future__ import annotations

import shutil
from decimal import Decimal
from pathlib import Path

from broker.domain import OrderStatus
from broker.orders.model.trading_state import TradingState
from tests.unit.broker.orders.samples import make_store

GOLDEN = Path(__file__).parent / "data" / "journal-v1.bin"


def test_golden_journal_of_version_1_is_read(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.journal.directory.mkdir()
    shutil.copy(GOLDEN, store.journal.directory / f"{100:020d}.journal")
    store.open()

    filled, unknown = store.index.get("01ORDER"), store.index.get("02ORDER")
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
    assert store.journal.written == 109
