from __future__ import annotations

from broker.events import CATALOGUE
from sidecar.ingest.definition import check_define
from sidecar.prometheus.names import family_name
from sidecar.telemetry.settings import TelemetrySettings
from telemetry_contract.v1 import telemetry_pb2 as pb
from tools.reference.events import exposed

DEFINES = CATALOGUE.defines({"broker": "oanda"})


def test_the_sidecar_finds_no_fault_in_the_broker_s_definitions() -> None:
    assert [fault for define in DEFINES for fault in check_define(define, TelemetrySettings())] == []


def test_the_page_names_metrics_as_the_sidecar_exposes_them() -> None:
    def name(item: pb.Instrument) -> str:
        family, _ = family_name(item.name, item.kind, item.unit)
        return family + ("_total" if item.kind == pb.INSTRUMENT_KIND_COUNTER else "")

    exposed_names = {name(item) for define in DEFINES for item in define.instruments}
    assert exposed_names == {exposed(item) for event in CATALOGUE.events for item in event.instruments}
