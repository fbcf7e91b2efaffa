from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_client.event_stream import EventParser, StreamEvent
from broker_client.models import PastTransaction, PriceView

PRICE = '{"instrument":"EUR_USD","bid":"1.1","ask":"1.10010","time":"2026-01-05T10:00:00Z","tradeable":true}'


def fed(parser: EventParser, *lines: str) -> list[StreamEvent]:
    return [event for line in lines if (event := parser.feed(line)) is not None]


def test_data_of_a_known_kind_is_its_model() -> None:
    (event,) = fed(EventParser(), "event: price", f"data: {PRICE}", "")
    assert isinstance(event.data, PriceView)
    assert (event.data.ask, event.data.time) == (Decimal("1.10010"), datetime(2026, 1, 5, 10, tzinfo=UTC))


def test_a_transaction_keeps_the_venues_own_object() -> None:
    data = '{"id":7,"type":"ORDER_FILL","instrument":"EUR_USD","time":"2026-01-05T10:00:00Z","transaction":{"id":"7"}}'
    (event,) = fed(EventParser(), "event: transaction", f"data: {data}", "")
    assert isinstance(event.data, PastTransaction)
    assert (event.data.id, event.data.transaction) == (7, {"id": "7"})


def test_data_of_another_kind_is_a_dict() -> None:
    assert fed(EventParser(), "event: missed", 'data: {"count": 3}', "") == [
        StreamEvent(kind="missed", data={"count": 3})
    ]


def test_an_id_holds_until_the_next() -> None:
    parser = EventParser()
    events = fed(parser, "id: a", "data: {}", "", "data: {}", "", "id: b", "data: {}", "")
    assert [event.id for event in events] == ["a", "a", "b"]
    assert parser.last_id == "b"


def test_data_of_several_lines_is_one_text() -> None:
    (event,) = fed(EventParser(), 'data: {"a":', "data: 1}", "")
    assert (event.kind, event.data) == ("message", {"a": 1})


def test_comments_and_blank_lines_make_no_event() -> None:
    assert fed(EventParser(), ": alive", "", "", "event: order", "") == []


def test_the_server_says_how_long_to_wait_before_a_new_connection() -> None:
    parser = EventParser()
    assert fed(parser, "retry: 1500", "retry: soon") == []
    assert parser.retry_s == 1.5


def test_half_of_an_event_is_forgotten_with_its_connection() -> None:
    parser = EventParser()
    fed(parser, "event: price", "data: {")
    parser.abandon()
    assert fed(parser, "event: missed", 'data: {"count": 1}', "") == [StreamEvent(kind="missed", data={"count": 1})]


def test_an_id_counts_once_its_event_is_whole() -> None:
    parser = EventParser()
    fed(parser, "id: 1", "data: {}", "", "id: 2", "data: {")
    assert parser.last_id == "1"
    parser.abandon()
    fed(parser, "data: {}", "")
    assert parser.last_id == "1"


def test_an_id_alone_is_a_place_to_come_back_to() -> None:
    parser = EventParser()
    assert fed(parser, "id: 7", "") == []
    assert parser.last_id == "7"


def test_a_model_of_another_contract_is_a_dict() -> None:
    (event,) = fed(EventParser(), "event: price", 'data: {"instrument": "EUR_USD"}', "")
    assert event.data == {"instrument": "EUR_USD"}


def test_data_that_is_no_json_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        fed(EventParser(), "data: nonsense", "")


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 9), st.sampled_from(["", ": x"]))))
def test_events_come_out_as_they_went_in(sent: list[tuple[str, int, str]]) -> None:
    parser = EventParser()
    lines = [
        line
        for kind, number, comment in sent
        for line in ([comment] if comment else []) + [f"event: {kind}", f'data: {{"n": {number}}}', ""]
    ]
    assert [(event.kind, event.data) for event in fed(parser, *lines)] == [(kind, {"n": n}) for kind, n, _ in sent]
