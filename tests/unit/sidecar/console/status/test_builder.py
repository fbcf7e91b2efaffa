from __future__ import annotations

from collections import Counter
from dataclasses import replace

from sidecar.console.status.builder import health_section
from sidecar.export.status import ExportStatus, SignalStatus
from sidecar.health.conditions import HealthCondition
from sidecar.ingest.producers import ProducerCondition, ProducerLedger, SecretsRefusal
from sidecar.metrics.ledger import EventLedger, LogLedger, SidecarLedger
from tests.unit.sidecar.console.sidecar_state import LEDGER, NOW_NS, NS, PRODUCER, document


def test_a_healthy_sidecar_says_so_with_its_probes() -> None:
    health = document()["health"]
    assert (health["state"], health["why"]) == ("healthy", [])
    assert {probe: item["ok"] for probe, item in health["probes"].items()} == {
        "livez": True,
        "livez/broker": True,
        "readyz": True,
        "startupz": True,
    }
    assert health["since"] == "2023-11-14T22:12:50.000Z"


def test_what_fails_a_probe_goes_before_advice() -> None:
    failing = ExportStatus(endpoint="http://c:4317", logs=SignalStatus(failing_since_ns=1), metrics=SignalStatus())
    health = document(export=failing, changed={"draining": True})["health"]
    assert health["state"] == "down"
    assert [item["name"] for item in health["why"]] == ["NotDraining", "CollectorReachable"]


def test_advice_alone_is_a_flaw() -> None:
    failing = ExportStatus(endpoint="http://c:4317", logs=SignalStatus(failing_since_ns=1), metrics=SignalStatus())
    assert document(export=failing)["health"]["state"] == "degraded"


def test_the_flow_shows_speed_backlog_and_losses_by_reason() -> None:
    ledger = replace(
        LEDGER,
        events=EventLedger(received=100, counted=99, rejected=Counter({"bad_label": 1})),
        logs=LogLedger(
            accepted=90, exported=80, queued=5, dropped=Counter({("journal_full", "a"): 2, ("journal_full", "b"): 3})
        ),
    )
    producer = replace(
        PRODUCER, ledger=ProducerLedger(emitted=10, acknowledged=3, held=4, dropped=(("a", "spool_full", 3),))
    )
    flow = document(ledger=ledger, producer=producer)["flow"]
    assert flow["in"] == {
        "rate": 50.0,
        "backlog": 4,
        "lost": 4,
        "lost_by": {"spool_full": 3, "bad_label": 1},
        "curve": [50.0, 50.0],
    }
    assert flow["out"] == {"rate": 44.0, "backlog": 5, "lost": 5, "lost_by": {"journal_full": 5}, "curve": [44.0, 44.0]}


def test_both_halves_of_the_ledger_say_whether_they_balance() -> None:
    found = document()
    assert found["producers"][0]["ledger"]["balanced"] is True
    assert (found["ledger"]["balanced"], found["ledger"]["logs"]["balanced"]) == (True, True)
    off = SidecarLedger(events=EventLedger(received=2, counted=1), logs=LogLedger(accepted=1))
    assert (document(ledger=off)["ledger"]["balanced"], document(ledger=off)["ledger"]["logs"]["balanced"]) == (
        False,
        False,
    )


def test_a_producer_is_told_as_it_last_spoke() -> None:
    refusal = SecretsRefusal(generation=4, secret="database", reason="refused", message="no")
    found = document(producer=replace(PRODUCER, refusal=refusal))["producers"][0]
    assert (found["id"], found["connected"], found["heartbeat_age_s"]) == ("broker", True, 0.5)
    assert found["refusal"] == {"generation": 4, "secret": "database", "reason": "refused", "message": "no"}
    assert found["conditions"][0]["since"] == "2023-11-14T22:12:30.000Z"


def test_what_never_happened_has_no_time() -> None:
    found = document(producer=replace(PRODUCER, last_event_ns=0, session_start_ns=0))["producers"][0]
    assert (found["last_event_age_s"], found["session_started"]) == (None, None)


def test_a_clock_that_went_back_makes_no_negative_age() -> None:
    found = document(producer=replace(PRODUCER, last_heartbeat_ns=NOW_NS + NS))["producers"][0]
    assert found["heartbeat_age_s"] == 0


def test_panels_have_their_totals_largest_first() -> None:
    panel = document()["panels"][0]
    assert list(panel["totals"].items()) == [("received", 40.0), ("filled", 20.0)]


def test_secrets_are_told_without_a_value_and_with_the_tokens_rest() -> None:
    secrets = document()["secrets"]
    assert (secrets["generation"], secrets["acknowledged"], secrets["token_expires_in_s"]) == (3, 3, 1200.0)
    assert [(item["name"], item["state"]) for item in secrets["secrets"]] == [("venue", "fresh"), ("database", "fresh")]


def test_without_secrets_the_document_says_so() -> None:
    assert document(secrets=None)["secrets"] == {"configured": False, "secrets": []}


def test_before_the_journal_is_open_nothing_is_said_of_it() -> None:
    assert document(journal=None)["journal"] == {}


def test_what_was_done_with_secrets_is_told_latest_first() -> None:
    assert document()["secrets"]["deeds"] == [
        {
            "time": "2023-11-14T22:00:00.000Z",
            "deed": "renew",
            "outcome": "denied",
            "secret": "database",
            "generation": None,
            "attributes": {},
        },
        {
            "time": "2023-11-14T22:00:00.000Z",
            "deed": "publish",
            "outcome": "ok",
            "secret": "",
            "generation": 3,
            "attributes": {},
        },
    ]


def failing(name: str, *, advisory: bool) -> ProducerCondition:
    return ProducerCondition(
        name=name, ok=False, reason="Odd", message="say more", since_ns=NOW_NS - 9 * NS, advisory=advisory
    )


def test_what_a_producer_advises_is_a_flaw_with_its_cause() -> None:
    found = document(producer=replace(PRODUCER, conditions=(failing("outcomes", advisory=True),)))["health"]
    assert (found["state"], found["since"]) == ("degraded", "2023-11-14T22:13:11.000Z")
    assert [(item["name"], item["reason"]) for item in found["why"]] == [("broker outcomes", "Odd")]


def test_a_producer_that_is_not_ready_says_why_itself_before_what_it_advises() -> None:
    conditions = (failing("outcomes", advisory=True), failing("prices", advisory=False))
    found = document(producer=replace(PRODUCER, conditions=conditions))["health"]
    assert found["state"] == "down"
    assert [item["name"] for item in found["why"]] == ["broker prices", "broker outcomes"]


def test_what_a_producer_said_before_it_went_is_no_cause() -> None:
    gone = replace(
        PRODUCER, connected=False, last_heartbeat_ns=NOW_NS - 20 * NS, conditions=(failing("prices", advisory=False),)
    )
    why = document(producer=gone)["health"]["why"]
    assert [(item["name"], item["reason"]) for item in why] == [
        ("ProducerAlive", "HeartbeatMissing"),
        ("ProducerReady", "NotAlive"),
    ]


def test_the_document_holds_what_the_doctor_makes_of_it() -> None:
    (finding,) = document(producer=replace(PRODUCER, conditions=(failing("outcomes", advisory=True),)))["findings"]
    assert (finding["fault"], finding["evidence"]) == ("producer_advises", "broker: outcomes: Odd: say more")
    assert finding["next"]
    assert finding["command"]


def test_a_condition_that_fails_no_probe_is_advice() -> None:
    """Another producer than the one that the probes speak of."""
    baker = replace(PRODUCER, producer_id="bakery", conditions=(failing("oven", advisory=False),))
    ready = (HealthCondition(name="ProducerReady", ok=True),)
    found = health_section(ready, (baker,))
    assert (found.state, [item.name for item in found.why]) == ("degraded", ["bakery oven"])
