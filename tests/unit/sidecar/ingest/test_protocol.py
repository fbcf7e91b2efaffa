from __future__ import annotations

import itertools

import pytest

from sidecar.ingest.protocol import KINDS, TABLE, UNKNOWN, StreamState, batch_bytes
from sidecar.ingest.validate import ContractFault
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.sidecar.batches import batch, filled, hello


def test_the_table_says_what_each_message_does_in_each_state() -> None:
    assert set(TABLE) == set(itertools.product(StreamState, [*KINDS, UNKNOWN]))


def test_the_kinds_are_those_of_the_contract() -> None:
    assert tuple(field.name for field in pb.PublishRequest.DESCRIPTOR.oneofs[0].fields) == KINDS


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hello"])
def test_nothing_comes_before_hello(kind: str) -> None:
    found = TABLE[StreamState.NEW, kind]
    assert isinstance(found, ContractFault)
    assert found.reason == "hello_first"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_follows_goodbye(kind: str) -> None:
    found = TABLE[StreamState.LEFT, kind]
    assert isinstance(found, ContractFault)
    assert found.reason == "after_goodbye"


@pytest.mark.parametrize("state", StreamState)
def test_a_message_of_a_later_version_is_ignored_everywhere(state: StreamState) -> None:
    assert TABLE[state, UNKNOWN] is state


@pytest.mark.parametrize("count", [1, 20, 3000])
def test_a_batch_is_found_in_its_message_without_parsing(count: int) -> None:
    inner = batch(1, filled(count))
    raw = pb.PublishRequest(batch=inner).SerializeToString()
    assert batch_bytes(raw) == inner.SerializeToString()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x1a",
        b"\x1a\xff\xff\xff\xff\xff\xff\xff",
        b"\x1a\x05ab",
        b"\x1a\x01ab",
        pb.PublishRequest(hello=hello()).SerializeToString(),
        pb.PublishRequest(batch=batch(1, filled(1))).SerializeToString() + b"\x78\x01",
    ],
)
def test_what_is_not_a_batch_alone_is_left_to_the_parser(raw: bytes) -> None:
    assert batch_bytes(raw) is None
