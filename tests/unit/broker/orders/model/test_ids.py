from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from broker.orders.model.ids import (
    RANDOM_BITS,
    ClientTag,
    auto_client_order_id,
    caller_digest,
    client_digest,
    close_client_order_id,
    milliseconds,
    order_id,
    parse_tag,
    random_bits,
)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.integers(0, 2**80 - 1))
def test_ids_sort_by_time(first: int, second: int, chance: int) -> None:
    assert (order_id(first, chance) < order_id(second, chance)) == (first < second)
    assert len(order_id(first, chance)) == 26


def test_tag_comes_back_from_the_venue() -> None:
    names = {"caller": caller_digest("flow", "a"), "client": client_digest("flow")}
    tag = ClientTag(owner="blue-1", epoch=12, order_id=order_id(1, 2), **names)
    assert parse_tag(str(tag)) == tag
    assert len(str(ClientTag(owner="o" * 60, epoch=10**9, order_id=order_id(1, 2), **names))) <= 128


def test_tag_of_a_version_that_wrote_no_client_is_read() -> None:
    tag = parse_tag("bk.blue.3.01ORDER.gvtvf4gl5vjzlqwt")
    assert tag == ClientTag(owner="blue", epoch=3, order_id="01ORDER", caller="gvtvf4gl5vjzlqwt")


def test_names_at_the_venue_are_the_same_from_release_to_release() -> None:
    assert order_id(1_795_000_000_000, 1 << 70) == "01M7Q5CQG00100000000000000"
    assert caller_digest("flow", "a-1") == "gvtvf4gl5vjzlqwt"
    assert client_digest("flow") == "jke7kjs2"


def test_what_others_wrote_is_no_tag() -> None:
    for text in (None, "", "my-order-1", "bk.a.b.c.d", "bk.a.1.c", "xx.a.1.c.d"):
        assert parse_tag(text) is None


def test_callers_do_not_share_digests() -> None:
    assert caller_digest("a", "b1") != caller_digest("ab", "1")


def test_every_maker_gives_eighty_random_bits() -> None:
    now, most = datetime(2026, 1, 5, tzinfo=UTC), (1 << RANDOM_BITS) - 1
    assert random_bits(iter([0.0, 0.0]).__next__) == 0
    assert random_bits(iter([1 - 2**-53, 1 - 2**-53]).__next__) == most
    name = order_id(milliseconds(now), most)
    assert name.endswith("Z" * 16)
    assert auto_client_order_id(now, most) == f"auto-{name}"
    assert close_client_order_id(now, most) == f"close-{name}"
