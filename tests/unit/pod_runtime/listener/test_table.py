from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pod_runtime.listener.table import Admission, ConnectionTable, network_of


def full_of(*addresses: str, per_address: int = 10) -> ConnectionTable[int]:
    """A full table: connection N came at N seconds."""
    table = ConnectionTable[int](len(addresses), per_address)
    for number, address in enumerate(addresses):
        assert table.admit(number, address, float(number)) == Admission()
    return table


def test_full_table_drops_the_oldest_stranger() -> None:
    assert full_of("a", "a", "a").admit(9, "a", 9.0) == Admission(evicted=0)


def test_address_with_the_most_strangers_makes_room_for_another() -> None:
    assert full_of("a", "b", "b").admit(9, "c", 9.0) == Admission(evicted=1)


def test_connection_with_a_key_is_never_dropped() -> None:
    table = full_of("a", "a")
    table.recognize(0)
    assert table.admit(8, "a", 9.0) == Admission(evicted=1)
    table.recognize(8)

    assert table.admit(9, "a", 99.0) == Admission("connections")


def test_connection_with_a_request_under_way_is_not_dropped() -> None:
    table = full_of("a", "a")
    table.begin(0)
    assert table.admit(8, "a", 9.0) == Admission(evicted=1)
    table.end(0)

    assert table.admit(9, "a", 9.0) == Admission(evicted=0)


def test_address_beyond_its_own_limit_loses_its_own_oldest() -> None:
    table = ConnectionTable[int](10, 2)
    for number, address in enumerate("baa"):
        table.admit(number, address, float(number))

    assert table.admit(8, "a", 3.0) == Admission(evicted=1)
    table.begin(2)
    table.begin(8)
    assert table.admit(9, "a", 4.0) == Admission("address")


def test_callers_with_a_key_do_not_count_against_their_address() -> None:
    table = ConnectionTable[int](10, 1)
    for number in range(5):
        assert table.admit(number, "a", 0.0) == Admission()
        table.recognize(number)
    assert len(table) == 5


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["admit", "recognize", "begin", "end", "remove"]),
            st.integers(0, 12),
            st.sampled_from("abc"),
            st.floats(0, 2),
        ),
        max_size=80,
    )
)
def test_bounds_hold_and_only_idle_strangers_are_dropped(steps: list[tuple[str, int, str, float]]) -> None:
    table, now_s = ConnectionTable[int](4, 3), 0.0
    open_: dict[int, str] = {}
    known: set[int] = set()
    busy: set[int] = set()
    for step, number, address, passed_s in steps:
        now_s += passed_s
        if step == "admit":
            if number in open_:
                continue
            admission = table.admit(number, address, now_s)
            if admission.evicted is not None:
                assert admission.evicted not in known | busy
                del open_[admission.evicted]
            if admission.refusal is None:
                open_[number] = address
        elif number in open_:
            getattr(table, step)(number)
            if step == "recognize":
                known.add(number)
            elif step == "begin":
                busy.add(number)
            elif step == "end":
                busy.discard(number)
            else:
                del open_[number]
                known.discard(number)
                busy.discard(number)
        assert len(table) == len(open_) <= 4
        assert all(sum(open_[item] == place for item in open_.keys() - known) <= 3 for place in "abc")


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_peer_is_an_ipv4_address_or_an_ipv6_network(host: str, network: str) -> None:
    assert network_of(host) == network
