from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from broker.api.http.pace import KNOWN_S, QUIET, RESERVED_SHARE, ConnectionPace
from broker.api.settings import ApiSettings

SETTINGS = ApiSettings(
    connections=100, connections_per_address=40, connections_per_s=10.0, connections_per_s_per_address=2.0
)
RESERVE = round(RESERVED_SHARE * SETTINGS.connections)


def flood(pace: ConnectionPace, addresses: int, now_s: float, count: int = 60) -> Counter[str | None]:
    """New connections from so many addresses by turns, and what became of them."""
    return Counter(pace.refusal(f"10.0.0.{peer}", now_s) for _ in range(count) for peer in range(addresses))


def test_one_address_may_fill_its_places_at_once_and_then_keeps_its_rate() -> None:
    pace = ConnectionPace(SETTINGS)
    assert flood(pace, 1, 0.0) == {None: 40, "address-rate": 20}
    assert flood(pace, 1, 5.0) == {None: 10, "address-rate": 50}


def test_all_together_may_fill_all_places_but_the_reserve_and_then_keep_their_rate() -> None:
    pace = ConnectionPace(SETTINGS)
    assert flood(pace, 8, 0.0)[None] == SETTINGS.connections - RESERVE
    assert flood(pace, 8, 3.0)[None] == 30


def test_address_that_hardly_ever_connects_is_taken_in_the_midst_of_a_flood() -> None:
    pace = ConnectionPace(SETTINGS)
    flood(pace, 8, 0.0)
    assert pace.refusal("10.9.9.9", 0.0) is None
    # Scrapes each 15 s, on a connection of its own each.
    for scrape in range(1, 100):
        flood(pace, 8, 15.0 * scrape)
        assert pace.refusal("10.9.9.9", 15.0 * scrape) is None


def test_reserve_is_for_the_first_connections_of_an_address() -> None:
    pace = ConnectionPace(SETTINGS)
    flood(pace, 8, 0.0)
    assert [pace.refusal("10.9.9.9", 0.0) for _ in range(12)].count(None) == QUIET


def test_address_of_a_caller_is_not_held_back_while_its_connection_is_open_and_a_while_after() -> None:
    pace = ConnectionPace(SETTINGS)
    pace.recognize("10.0.0.0")
    assert flood(pace, 1, 0.0) == {None: 60}
    assert flood(pace, 1, 10 * KNOWN_S) == {None: 60}
    pace.release("10.0.0.0", 10 * KNOWN_S)
    assert flood(pace, 1, 11 * KNOWN_S - 0.1) == {None: 60}
    assert flood(pace, 1, 11 * KNOWN_S) == {None: 40, "address-rate": 20}


def test_what_callers_do_leaves_the_others_their_rate() -> None:
    pace = ConnectionPace(SETTINGS)
    pace.recognize("10.0.0.0")
    flood(pace, 1, 0.0, count=1000)
    assert pace.refusal("10.0.0.1", 0.0) is None


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.floats(0.0, 5.0), st.sampled_from(("connect", "recognize", "release"))),
        max_size=200,
    )
)
def test_no_order_of_events_lets_strangers_beyond_their_rate(steps: list[tuple[int, float, str]]) -> None:
    pace, now_s = ConnectionPace(SETTINGS), 0.0
    taken: Counter[str] = Counter()
    keyed: Counter[str] = Counter()
    for peer, pause_s, what in steps:
        now_s, address = now_s + pause_s, f"10.0.0.{peer}"
        if what == "recognize":
            keyed[address] += 1
            pace.recognize(address)
        elif what == "release" and keyed[address] > 0:
            keyed[address] -= 1
            pace.release(address, now_s)
        elif what == "connect" and address not in keyed:
            taken[address] += pace.refusal(address, now_s) is None
            assert taken[address] <= SETTINGS.connections_per_address + 2.0 * now_s + 1
            assert taken.total() <= SETTINGS.connections + 10.0 * now_s + 1
        elif what == "connect" and keyed[address]:
            assert pace.refusal(address, now_s) is None
