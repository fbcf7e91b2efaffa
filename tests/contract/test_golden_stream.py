from __future__ import annotations

from collections import Counter
from pathlib import Path

from pod_runtime.framing import file_version, records
from producer.stream.columns import encode_batch, event_schemas
from sidecar.ingest.definition import check_define
from sidecar.ingest.validate import check_batch, check_cover, check_group, check_hello
from sidecar.journal.segment import event_type
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.producer.samples import SHOP, START_NS

GOLDEN = Path(__file__).parents[1] / "data" / "stream" / "version-1.bin"
"""What a broker of version 1 of the protocol says: Hello, Define, Define, Batch, each a framed PublishRequest."""


def golden() -> list[pb.PublishRequest]:
    data = GOLDEN.read_bytes()
    assert file_version(data, b"TGLD") == 1
    return [pb.PublishRequest.FromString(record.payload) for record in records(data)]


def spoken() -> list[pb.PublishRequest]:
    """The same, as the broker of today says it."""
    defines = SHOP.defines({"broker": "oanda"})
    hello = pb.Hello(
        protocol_version=1,
        producer_id="broker",
        session_id="golden",
        first_sequence=8,
        resource={"service.name": "broker"},
        session_start_time_unix_nano=START_NS,
    )
    rows = [
        (1, START_NS, None, "north", 2.5, 1, True, None, None),
        (2, START_NS + 5, bytes(range(25)), "grüezi"),
        (1, START_NS - 7, None, "south", -1.0, -(1 << 40), False, "note", 0.25),
    ]
    said = pb.PublishRequest(batch=pb.Batch.FromString(encode_batch(8, rows, event_schemas(defines), Counter())))
    return [pb.PublishRequest(hello=hello), *(pb.PublishRequest(define=item) for item in defines), said]


def test_the_broker_says_what_version_1_said() -> None:
    assert spoken() == golden()


def test_the_sidecar_takes_what_version_1_said() -> None:
    hello, *defines, said = golden()
    assert check_hello(hello.hello) is None
    assert [fault for item in defines for fault in check_define(item.define, TelemetrySettings())] == []
    types = {item.define.event_id: event_type(item.define) for item in defines}
    assert check_batch(said.batch, TelemetrySettings()) is None
    assert check_cover(said.batch) is None
    assert [check_group(group, types[group.event_id]) for group in said.batch.groups] == [None, None]
