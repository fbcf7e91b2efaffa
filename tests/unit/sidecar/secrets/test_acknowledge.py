"""Stages of a generation, and reports of producers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.ingest.producers import Producers
from sidecar.secrets.acknowledge import REACHED_FROM, Acknowledgement, Acknowledgements, ProducerListener, Stage
from telemetry_contract.v1 import telemetry_pb2 as pb

HELLO = pb.Hello(protocol_version=1, producer_id="broker", session_id="s1", first_sequence=1)


def generation(stage: Stage) -> Acknowledgement:
    return Acknowledgement(generation=2, stage=stage, published=0.0)


@pytest.mark.parametrize(
    ("stage", "asked", "becomes"),
    [
        (Stage.FETCHED, Stage.PUBLISHED, Stage.PUBLISHED),
        (Stage.PUBLISHED, Stage.ACKNOWLEDGED, Stage.ACKNOWLEDGED),
        (Stage.PUBLISHED, Stage.REJECTED, Stage.REJECTED),
        (Stage.PUBLISHED, Stage.TIMED_OUT, Stage.TIMED_OUT),
        (Stage.REJECTED, Stage.ACKNOWLEDGED, Stage.ACKNOWLEDGED),
        (Stage.TIMED_OUT, Stage.ACKNOWLEDGED, Stage.ACKNOWLEDGED),
        (Stage.TIMED_OUT, Stage.REJECTED, Stage.REJECTED),
        (Stage.ACKNOWLEDGED, Stage.REJECTED, Stage.ACKNOWLEDGED),
        (Stage.ACKNOWLEDGED, Stage.TIMED_OUT, Stage.ACKNOWLEDGED),
        (Stage.FETCHED, Stage.ACKNOWLEDGED, Stage.ACKNOWLEDGED),
        (Stage.FETCHED, Stage.TIMED_OUT, Stage.FETCHED),
    ],
)
def test_moves(stage: Stage, asked: Stage, becomes: Stage) -> None:
    assert generation(stage).moved(asked).stage is becomes


@given(st.lists(st.sampled_from(list(REACHED_FROM)), max_size=20))
def test_what_is_acknowledged_stays_so_whatever_comes(moves: list[Stage]) -> None:
    item = generation(Stage.FETCHED)
    for asked in moves:
        before = item.stage
        item = item.moved(asked)
        assert item.stage is before or (item.stage is asked and before in REACHED_FROM[asked])
        assert before is not Stage.ACKNOWLEDGED or item.stage is Stage.ACKNOWLEDGED


def test_every_required_reader_must_have_proved_it() -> None:
    required = frozenset({"a", "b"})
    once = generation(Stage.PUBLISHED).applied("a", required)
    assert once.stage is Stage.PUBLISHED
    assert once.applied("b", required).stage is Stage.ACKNOWLEDGED


class FakeAcknowledgements(Acknowledgements):
    """Notes its calls."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def connected(self, producer_id: str) -> None:
        self.said.append(("connected", producer_id))

    def applied(self, *what: Any) -> None:
        self.said.append(("applied", *what))

    def rejected(self, *what: Any) -> None:
        self.said.append(("rejected", *what))

    def goodbye(self, *what: Any) -> None:
        self.said.append(("goodbye", *what))


def test_a_producer_that_came_is_told_once_a_connection() -> None:
    heard, producers = FakeAcknowledgements(), Producers()
    listener = ProducerListener(heard, producers)
    producers.connected(HELLO, 1)
    listener.poll()
    listener.poll()
    producers.disconnected(HELLO, 2)
    listener.poll()
    producers.connected(HELLO, 3)
    listener.poll()
    assert heard.said == [("connected", "broker"), ("connected", "broker")]


def test_what_a_producer_says_of_secrets_is_told_at_once() -> None:
    heard, producers = FakeAcknowledgements(), Producers()
    ProducerListener(heard, producers)
    producers.connected(HELLO, 1)
    producers.applied(HELLO, pb.SecretsApplied(generation=2))
    producers.rejected(HELLO, pb.SecretsRejected(generation=3, secret="db", reason="refused", message="no"))
    assert heard.said == [("applied", "broker", 2), ("rejected", "broker", 3, "db", "refused", "no")]


def test_who_comes_and_leaves_between_two_polls_is_told_in_that_order() -> None:
    heard, producers = FakeAcknowledgements(), Producers()
    listener = ProducerListener(heard, producers)
    producers.connected(HELLO, 1)
    producers.goodbye(HELLO, "sigterm")
    producers.disconnected(HELLO, 2)
    listener.poll()
    assert heard.said == [("connected", "broker"), ("goodbye", "broker")]
