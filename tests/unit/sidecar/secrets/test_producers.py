from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sidecar.ingest.producers import Producers
from sidecar.secrets.producers import Messenger
from telemetry_contract.v1 import telemetry_pb2 as pb

HELLO = pb.Hello(protocol_version=1, producer_id="broker", session_id="s1", first_sequence=1)


@dataclass
class Heard:
    said: list[tuple[Any, ...]] = field(default_factory=list)

    async def run(self, stop: Any) -> None: ...
    async def rotate(self, name: str | None) -> None: ...
    def status(self) -> Any: ...

    def connected(self, producer_id: str) -> None:
        self.said.append(("connected", producer_id))

    def applied(self, *what: Any) -> None:
        self.said.append(("applied", *what))

    def rejected(self, *what: Any) -> None:
        self.said.append(("rejected", *what))

    def goodbye(self, *what: Any) -> None:
        self.said.append(("goodbye", *what))


def test_a_producer_that_came_is_told_once_a_connection() -> None:
    heard, producers = Heard(), Producers()
    messenger = Messenger(heard, producers)
    producers.connected(HELLO, 1)
    messenger.look()
    messenger.look()
    producers.disconnected(HELLO, 2)
    messenger.look()
    producers.connected(HELLO, 3)
    messenger.look()
    assert heard.said == [("connected", "broker"), ("connected", "broker")]


def test_what_a_producer_says_of_secrets_is_told_at_once() -> None:
    heard, producers = Heard(), Producers()
    Messenger(heard, producers)
    producers.connected(HELLO, 1)
    producers.applied(HELLO, pb.SecretsApplied(generation=2))
    producers.rejected(HELLO, pb.SecretsRejected(generation=3, secret="db", reason="refused", message="no"))
    assert heard.said == [("applied", "broker", 2), ("rejected", "broker", 3, "db", "refused", "no")]


def test_who_comes_and_leaves_between_two_looks_is_told_in_that_order() -> None:
    heard, producers = Heard(), Producers()
    messenger = Messenger(heard, producers)
    producers.connected(HELLO, 1)
    producers.goodbye(HELLO, "sigterm")
    producers.disconnected(HELLO, 2)
    messenger.look()
    assert heard.said == [("connected", "broker"), ("goodbye", "broker")]
