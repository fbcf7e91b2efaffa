from __future__ import annotations

from telemetry.v1 import telemetry_pb2 as pb

from broker.telemetry.catalogue import CATALOGUE
from broker.telemetry.document import exposed
from sidecar.telemetry.contract import Limits
from sidecar.telemetry.definition import check_define
from sidecar.telemetry.exposition_names import family_name

DEFINES = CATALOGUE.defines({"broker": "oanda"})


def test_the_sidecar_finds_no_fault_in_the_broker_s_definitions() -> None:
    assert [fault for define in DEFINES for fault in check_define(define, Limits())] == []


def test_the_page_names_metrics_as_the_sidecar_exposes_them() -> None:
    def name(item: pb.Instrument) -> str:
        family, _ = family_name(item.name, item.kind, item.unit)
        return family + ("_total" if item.kind == pb.INSTRUMENT_KIND_COUNTER else "")

    exposed_names = {name(item) for define in DEFINES for item in define.instruments}
    assert exposed_names == {exposed(item) for event in CATALOGUE.events for item in event.instruments}
