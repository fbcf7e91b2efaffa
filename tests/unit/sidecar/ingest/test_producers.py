from __future__ import annotations

from sidecar.ingest.producers import MAX_GONE, Producers, ProducerStatus, SecretsRefusal
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import hello
from tests.unit.sidecar.secrets_reports import SecretsReports


def status(producers: Producers) -> ProducerStatus:
    found = producers.get("broker")
    assert found is not None
    return found


def beat(*conditions: pb.Condition) -> pb.Heartbeat:
    return pb.Heartbeat(conditions=conditions)


def connected() -> Producers:
    producers = Producers()
    producers.connected(hello(session_start_time_unix_nano=5), 100)
    return producers


def test_a_condition_that_does_not_hold_makes_its_producer_unready_unless_it_is_advice() -> None:
    producers = connected()
    producers.heartbeat(hello(), beat(pb.Condition(name="Journal", ok=False, advisory=True)), 110)
    assert status(producers).ready
    producers.heartbeat(hello(), beat(pb.Condition(name="Venue", ok=False, reason="Refused")), 120)
    assert not status(producers).ready
    producers.heartbeat(hello(), beat(), 130)
    assert status(producers).ready
    assert status(producers).last_heartbeat_ns == 130


def test_a_producer_that_is_gone_is_not_ready() -> None:
    producers = connected()
    producers.heartbeat(hello(), beat(), 110)
    producers.disconnected(hello(), 200)
    assert not status(producers).ready
    assert status(producers).changed_ns == 200


def test_a_new_session_starts_with_a_clean_sheet() -> None:
    producers = connected()
    producers.heartbeat(hello(), beat(pb.Condition(name="Venue")), 110)
    producers.applied(hello(), pb.SecretsApplied(generation=3))
    producers.connected(hello(session="s2"), 200)
    assert status(producers).conditions == ()
    assert status(producers).applied_generation == 0


def test_the_stream_of_an_older_session_says_nothing_about_the_newer_one() -> None:
    producers = connected()
    producers.connected(hello(session="s2"), 200)
    producers.heartbeat(hello(), beat(pb.Condition(name="Venue")), 210)
    producers.goodbye(hello(), "sigterm")
    producers.disconnected(hello(), 220)
    assert status(producers).connected
    assert status(producers).goodbye == ""
    assert status(producers).conditions == ()


def test_a_recovery_stream_is_neither_a_connection_nor_an_end() -> None:
    producers = connected()
    old = hello(session="old", recovery=True)
    producers.connected(old, 200)
    assert status(producers).recovery_streams == 1
    assert status(producers).session_id == "s1"
    producers.disconnected(old, 210)
    assert (status(producers).recovery_streams, status(producers).connected) == (0, True)


def test_a_generation_that_is_applied_settles_its_own_refusal_and_older_ones() -> None:
    producers = connected()
    producers.rejected(hello(), pb.SecretsRejected(generation=5, secret="venue", reason="refused", message="m" * 2000))
    refusal = SecretsRefusal(generation=5, secret="venue", reason="refused", message="m" * 1024)
    assert status(producers).refusal == refusal
    producers.applied(hello(), pb.SecretsApplied(generation=4))
    assert status(producers).refusal == refusal
    producers.applied(hello(), pb.SecretsApplied(generation=5))
    assert status(producers).refusal is None


def test_what_a_producer_says_takes_bounded_room() -> None:
    producers = connected()
    many = [pb.Condition(name="N" * 500, message="m" * 5000) for _ in range(500)]
    drops = [pb.DropCount(event="e" * 500, reason="r" * 500, count=1) for _ in range(5000)]
    message = pb.Heartbeat(conditions=many, ledger=pb.ProducerLedger(dropped=drops))
    producers.heartbeat(hello(), message, 110)
    found = status(producers)
    assert (len(found.conditions), len(found.conditions[0].name), len(found.conditions[0].message)) == (64, 64, 1024)
    assert found.ledger is not None
    assert len(found.ledger.dropped) == 1024
    assert [len(text) for text in found.ledger.dropped[0][:2]] == [128, 64]


def test_the_secrets_hear_at_once_what_a_producer_reports_of_them() -> None:
    heard = SecretsReports()
    producers = Producers(heard)
    producers.connected(hello(), 1)
    producers.applied(hello(), pb.SecretsApplied(generation=2))
    producers.rejected(hello(), pb.SecretsRejected(generation=3, secret="db", reason="refused", message="m" * 2000))
    producers.goodbye(hello(), "sigterm")
    assert heard.said == [
        ("connected", "broker"),
        ("applied", "broker", 2),
        ("rejected", "broker", 3, "db", "refused", "m" * 1024),
        ("goodbye", "broker"),
    ]


def test_the_secrets_hear_of_each_connection_of_a_reader_and_of_no_recovery_stream() -> None:
    heard = SecretsReports()
    producers = Producers(heard)
    producers.connected(hello(), 1)
    producers.connected(hello(session="old", recovery=True), 2)
    producers.disconnected(hello(), 3)
    producers.connected(hello(), 4)
    assert heard.said == [("connected", "broker"), ("connected", "broker")]


def test_a_report_that_counts_for_nothing_leaves_no_trace() -> None:
    producers = Producers(SecretsReports(counts=False))
    producers.connected(hello(), 1)
    producers.applied(hello(), pb.SecretsApplied(generation=2))
    producers.rejected(hello(), pb.SecretsRejected(generation=3, secret="db", reason="lie"))
    assert (status(producers).applied_generation, status(producers).refusal) == (0, None)


def test_producers_that_are_gone_for_long_are_forgotten() -> None:
    producers = connected()
    producers.connected(hello("left"), 100)
    producers.disconnected(hello("left"), 200)
    producers.connected(hello("dead", "old", recovery=True), 100)
    producers.disconnected(hello("dead", "old", recovery=True), 250)
    producers.forget(200)
    assert [item.producer_id for item in producers.all()] == ["broker", "dead", "left"]
    producers.forget(300)
    assert [item.producer_id for item in producers.all()] == ["broker"]


def test_producers_that_come_and_go_take_bounded_room() -> None:
    producers = connected()
    for number in range(MAX_GONE + 50):
        gone = hello(f"p{number}")
        producers.connected(gone, 200 + number)
        producers.disconnected(gone, 200 + number)
    assert len(producers.all()) <= MAX_GONE + 2
    assert producers.get("broker") is not None
    assert producers.get(f"p{MAX_GONE + 49}") is not None
