from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.venue.rest.circuit_breaker import Circuit, CircuitState

FRESH = Circuit(failures_to_open=3, pause_s=5.0)


def failed(circuit: Circuit, *times: float) -> Circuit:
    for at in times:
        circuit = circuit.after(at, failed=True)
    return circuit


def test_failures_in_a_row_open_it() -> None:
    assert failed(FRESH, 1.0, 2.0).allows(2.0)
    assert not failed(FRESH, 1.0, 2.0, 3.0).allows(3.0)


def test_an_answer_between_starts_the_count_anew() -> None:
    circuit = failed(failed(FRESH, 1.0, 2.0).after(2.5, failed=False), 3.0, 4.0)
    assert circuit.state(4.0) is CircuitState.CLOSED


def test_after_the_pause_one_order_tries() -> None:
    circuit = failed(FRESH, 1.0, 2.0, 3.0)
    assert circuit.state(8.0) is CircuitState.HALF_OPEN
    assert circuit.allows(8.0)
    assert not circuit.sent(8.0).allows(8.0)


def test_a_failed_try_opens_it_again_and_a_good_one_closes_it() -> None:
    trying = failed(FRESH, 1.0, 2.0, 3.0).sent(8.0)
    assert trying.after(8.5, failed=True).state(9.0) is CircuitState.OPEN
    assert trying.after(8.5, failed=False).state(9.0) is CircuitState.CLOSED


@given(st.lists(st.booleans(), max_size=30))
def test_it_never_stays_open_for_ever(outcomes: list[bool]) -> None:
    circuit = FRESH
    for at, outcome in enumerate(outcomes):
        circuit = circuit.sent(float(at)).after(float(at), failed=outcome)
    assert circuit.allows(len(outcomes) + FRESH.pause_s)
