from __future__ import annotations

import pytest

from broker.domain import OrderStatus
from broker.orders.model.trading_state import AccountControl, TradingState
from broker.orders.store.journal_format import decode_payload, encode_control, encode_order
from tests.unit.broker.orders.samples import make_record


def test_entry_and_control_come_back_as_they_were() -> None:
    record = make_record(OrderStatus.UNKNOWN)
    control = AccountControl(state=TradingState.HALTED, applied=12)
    assert decode_payload(encode_order(record)) == (b"o", record)
    assert decode_payload(encode_control(control)) == (b"c", control)


def test_kind_from_the_future_is_passed_over() -> None:
    assert decode_payload(b"q{}") == (b"q", None)


def test_damaged_record_says_what_it_is_not_what_it_holds() -> None:
    with pytest.raises(ValueError, match=r"b'o' of \d+ bytes") as caught:
        decode_payload(b'o{"secret": "value"}')
    assert "secret" not in str(caught.value)
