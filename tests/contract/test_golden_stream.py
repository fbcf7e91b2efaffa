from __future__ import annotations

from collections import Counter
from pathlib import Path

from pod_runtime.files.framing import file_version, records
from producer.declare import Gauge, define
from producer.otel.event_types import measured_event
from producer.stream.columns import encode_batch, event_schemas
from sidecar.ingest.definition import check_define
from sidecar.ingest.validate import check_batch, check_cover, check_group, check_hello
from sidecar.journal.segment import event_type
from sidecar.metrics.aggregate import Aggregate
from sidecar.telemetry.model import Session
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.unit.producer.samples import SHOP, START_NS

OBSERVED = (
    "08071204706f64731a090a03706f64100118011a0b0a0576616c75651002180222240a04706f647310031a057b706f647d22"
    "05506f64732e2a0576616c75653203706f645801"
)
"""The definition of an observable gauge, as it was when `absent_ends` was added."""
GOLDEN = Path(__file__).parents[1] / "data" / "stream" / "version-1.bin"
"""Messages of a broker of version 1 of the protocol: Hello, Define, Define, Batch, each a framed PublishRequest."""


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


def observed_define() -> pb.Define:
    """Messages that the front of OpenTelemetry sends about an observable gauge."""
    instrument = Gauge("pods", "{pod}", "Pods.", absent_ends=True)
    event, _ = measured_event(instrument, ["pod"])
    return define(event, 7, {})


def test_the_word_for_series_that_are_no_longer_observed_has_its_bytes() -> None:
    assert observed_define().SerializeToString(deterministic=True).hex() == OBSERVED


def test_a_reader_of_an_older_contract_makes_no_measurement_of_an_event_that_ends_a_series() -> None:
    older = pb.Instrument.FromString(observed_define().instruments[0].SerializeToString())
    older.ClearField("absent_ends")  # what a reader that does not know the field sees
    event = observed_define()
    event.instruments[0].CopyFrom(older)
    assert check_define(event, TelemetrySettings()) == []
    rows = [(7, START_NS, None, "p1", 1.0), (7, START_NS, None, "p1", None)]
    said = pb.Batch.FromString(encode_batch(1, rows, event_schemas([event]), Counter()))
    aggregate = Aggregate()
    session = Session(producer_id="broker", session_id="s1")
    aggregate.begin(session)
    aggregate.define(1, session, event_type(event), recovery=False)
    aggregate.apply(1, said, START_NS)
    (family,) = aggregate.snapshot(START_NS).producers[0].families
    assert [getattr(point, "value", None) for point in family.points] == [1.0]
