from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.health.conditions import (
    PROBES,
    ExportFacts,
    HealthCondition,
    HealthFacts,
    HealthSettings,
    ProducerFacts,
    SecretFacts,
    SecretsFacts,
    evaluate,
    track,
    verdict,
)

SETTINGS = HealthSettings()
WELL = HealthFacts(
    now_ns=1_000,
    socket_open=True,
    secrets=SecretsFacts(generation=3, secrets=(SecretFacts(name="venue", expires_in_s=600.0),)),
    producer=ProducerFacts(
        producer_id="broker",
        connected=True,
        heartbeat_age_s=0.4,
        conditions=(HealthCondition(name="VenueReachable", ok=True),),
    ),
)


def condition(name: str, facts: HealthFacts) -> HealthCondition:
    return next(item for item in evaluate(facts, SETTINGS) if item.name == name)


def answers(facts: HealthFacts) -> dict[str, bool]:
    found = evaluate(facts, SETTINGS)
    return {probe: verdict(probe, found).ok for probe in PROBES}


def producer(**changes: Any) -> HealthFacts:
    return replace(WELL, producer=replace(WELL.producer, **changes))


def secrets(**changes: Any) -> HealthFacts:
    return replace(WELL, secrets=replace(WELL.secrets, **changes))


ALL = {"livez": True, "livez/broker": True, "readyz": True, "startupz": True}


def test_all_probes_pass_when_all_is_well() -> None:
    assert answers(WELL) == ALL


@pytest.mark.parametrize(
    ("facts", "failing"),
    [
        (replace(WELL, draining=True), {"readyz"}),
        (replace(WELL, socket_open=False), {"startupz"}),
        (replace(WELL, loop_lag_s=6.0), {"livez"}),
        (producer(heartbeat_age_s=11.0), {"livez/broker", "readyz"}),
        (producer(heartbeat_age_s=None), {"livez/broker", "readyz"}),
        (producer(goodbye="sigterm"), {"livez/broker", "readyz"}),
        (producer(connected=False, gone_s=1.1), {"readyz"}),
        (producer(conditions=(HealthCondition(name="VenueReachable", ok=False, reason="TokenRefused"),)), {"readyz"}),
        (secrets(generation=0, secrets=()), {"readyz", "startupz"}),
        (secrets(secrets=(SecretFacts(name="database", expires_in_s=30.0),)), {"readyz"}),
    ],
)
def test_each_fault_fails_the_probes_that_it_concerns(facts: HealthFacts, failing: set[str]) -> None:
    assert answers(facts) == {probe: probe not in failing for probe in ALL}


@pytest.mark.parametrize(
    "facts",
    [
        producer(conditions=(HealthCondition(name="MarketOpen", ok=False, reason="Weekend", advisory=True),)),
        secrets(fault=("Sealed", "Vault is sealed")),
        secrets(unproved=("authentication_failed", "generation 3")),
        replace(WELL, export=ExportFacts(fault=("Unavailable", "refused"))),
        replace(WELL, journal_fault=("DiskFull", "no space")),
        producer(connected=False, heartbeat_age_s=1.3, gone_s=0.9),
    ],
)
def test_what_is_remote_or_advisory_fails_no_probe(facts: HealthFacts) -> None:
    assert answers(facts) == ALL


def test_startup_and_own_liveness_never_wait_for_the_producer() -> None:
    facts = replace(WELL, producer=ProducerFacts(producer_id="broker"))
    assert answers(facts) == {"livez": True, "livez/broker": False, "readyz": False, "startupz": True}


def test_without_configured_secrets_nothing_waits_for_them() -> None:
    facts = secrets(configured=False, generation=0, secrets=())
    assert answers(facts) == ALL


def test_secrets_that_do_not_come_say_what_vault_said() -> None:
    facts = secrets(generation=0, secrets=(), fault=("PermissionDenied", "login refused: 403"))
    found = condition("SecretsPublished", facts)
    assert (found.ok, found.reason, found.message) == (False, "PermissionDenied", "login refused: 403")


def test_a_secret_near_its_expiry_is_named_with_what_is_left() -> None:
    facts = secrets(secrets=(SecretFacts(name="b", expires_in_s=-2.0), SecretFacts(name="a", expires_in_s=12.0)))
    assert condition("SecretsFresh", facts).message == "b expired 2 s ago, a expires in 12 s"


def test_the_next_expiry_is_told_while_all_are_fresh() -> None:
    assert condition("SecretsFresh", WELL).message == "next expiry: venue expires in 600 s"


def test_a_silent_producer_is_told_from_one_that_is_gone() -> None:
    connected = condition("ProducerAlive", producer(heartbeat_age_s=20.0))
    gone = condition("ProducerAlive", producer(heartbeat_age_s=20.0, connected=False))
    assert connected.message == "broker is connected but silent: last heartbeat 20 s ago, budget 10 s"
    assert gone.message == "broker is not connected: last heartbeat 20 s ago, budget 10 s"


def test_a_producer_that_says_it_has_to_be_started_anew_is_not_alive() -> None:
    said = HealthCondition(name="Alive", ok=False, reason="NoPlace", message="neither owner nor waiting")
    facts = producer(conditions=(said,))
    found = condition("ProducerAlive", facts)
    assert (found.ok, found.reason, found.message) == (False, "NoPlace", "broker: neither owner nor waiting")
    assert answers(facts) == ALL | {"livez/broker": False, "readyz": False}


def test_what_a_producer_said_before_it_was_started_anew_does_not_count() -> None:
    said = HealthCondition(name="Alive", ok=False, reason="NoPlace", message="neither owner nor waiting")
    assert condition("ProducerAlive", producer(conditions=(said,), has_spoken=False)).ok


def test_a_producer_whose_stream_ended_is_unready_long_before_it_counts_as_dead() -> None:
    facts = producer(connected=False, gone_s=1.5, heartbeat_age_s=2.0)
    found = condition("ProducerReady", facts)
    assert (found.reason, found.message) == ("NotConnected", "broker is not connected: its stream ended 1.5 s ago")
    assert condition("ProducerAlive", facts).ok


def test_a_producer_that_is_not_ready_says_why_in_its_own_words() -> None:
    failing = HealthCondition(name="VenueReachable", ok=False, reason="TokenRefused", message="401 from the venue")
    found = condition("ProducerReady", producer(conditions=(failing,)))
    assert (found.reason, found.message) == ("TokenRefused", "VenueReachable: TokenRefused: 401 from the venue")


def test_a_producer_that_has_not_said_how_it_is_is_not_ready() -> None:
    found = condition("ProducerReady", producer(has_spoken=False))
    assert (found.ok, found.reason) == (False, "NotSaid")


def test_since_is_kept_until_state_or_reason_changes() -> None:
    down = HealthCondition(name="CollectorReachable", ok=False, reason="Unavailable", message="1 try")
    first = track((), (down,), 10)
    again = track(first, (replace(down, message="2 tries"),), 20)
    other = track(again, (replace(down, reason="Unauthenticated"),), 30)
    up = track(other, (HealthCondition(name="CollectorReachable", ok=True),), 40)
    assert [item[0].since_ns for item in (first, again, other, up)] == [10, 10, 30, 40]


def test_a_verdict_before_the_first_evaluation_is_a_failure() -> None:
    found = verdict("livez", ())
    assert (found.ok, found.conditions[0].reason) == (False, "NotEvaluated")


@given(
    st.builds(
        HealthFacts,
        now_ns=st.integers(0, 2**62),
        loop_lag_s=st.floats(0, 100),
        draining=st.booleans(),
        socket_open=st.booleans(),
        secrets=st.builds(SecretsFacts, generation=st.integers(0, 9), configured=st.booleans()),
        producer=st.builds(
            ProducerFacts,
            producer_id=st.just("broker"),
            connected=st.booleans(),
            gone_s=st.floats(0, 100),
            heartbeat_age_s=st.none() | st.floats(0, 100),
            goodbye=st.sampled_from(["", "sigterm"]),
        ),
    )
)
def test_ready_implies_that_the_producer_lives_and_nothing_drains(facts: HealthFacts) -> None:
    found = answers(facts)
    there = facts.producer.connected or facts.producer.gone_s <= SETTINGS.reconnect_grace_s
    assert not found["readyz"] or (found["livez/broker"] and there and not facts.draining)


@given(st.booleans(), st.floats(0, 100), st.text(max_size=5))
def test_nothing_of_the_producer_moves_the_sidecars_own_probes(connected: bool, age: float, goodbye: str) -> None:
    found = answers(producer(connected=connected, heartbeat_age_s=age, goodbye=goodbye, conditions=()))
    assert (found["livez"], found["startupz"]) == (True, True)


def test_a_verdict_that_goes_stale_sooner_than_it_is_renewed_is_refused() -> None:
    with pytest.raises(ValueError, match="twice interval_s"):
        HealthSettings(interval_s=5, stale_s=6)
