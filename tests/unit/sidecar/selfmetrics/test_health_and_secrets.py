from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sidecar.export.settings import OtlpSettings
from sidecar.health.conditions import HealthCondition
from sidecar.secrets.status import SecretsStatus
from sidecar.selfmetrics.health_and_secrets import health_measures, secrets_measures
from sidecar.selfmetrics.measure import Measure
from sidecar.selfmetrics.self_metrics import SelfMetrics
from tests.unit.sidecar.console.sidecar_state import SECRETS


def read(measures: list[Measure]) -> dict[str, Any]:
    return {item.name: list(item.read()) for item in measures}


def test_conditions_and_probes_are_one_or_zero() -> None:
    conditions = (HealthCondition(name="LoopTurns", ok=True), HealthCondition(name="NotDraining", ok=False))
    found = read(health_measures(lambda: conditions))
    assert found["sidecar.condition"] == [({"condition": "LoopTurns"}, 1), ({"condition": "NotDraining"}, 0)]
    assert ({"probe": "livez"}, 1) in found["sidecar.probe"]
    assert ({"probe": "readyz"}, 0) in found["sidecar.probe"]


def test_secrets_are_told_by_name_and_what_does_not_expire_has_no_expiry() -> None:
    status = replace(
        SECRETS,
        counters={"publications": 4},
        requests={("read", "ok"): 7, ("login", "denied"): 1},
        token=replace(SECRETS.token, ends_in_s=80_000.0),
        secrets=(
            replace(SECRETS.secrets[0], reads={"first": 1}, last_success=datetime(2026, 1, 1, tzinfo=UTC)),
            replace(SECRETS.secrets[1], ends_in_s=7200.0, failing_since=datetime(2026, 1, 1, tzinfo=UTC)),
        ),
    )
    found = read(secrets_measures(lambda: status))
    assert found["sidecar.secrets.seconds_to_expiry"] == [({"secret": "database"}, 600.0)]
    assert found["sidecar.secrets.generation.published"] == [({}, 3)]
    assert found["sidecar.secrets.publications"] == [({}, 4)]
    assert found["sidecar.secrets.reads"] == [({"secret": "venue", "reason": "first"}, 1)]
    assert found["sidecar.secrets.failing"] == [({"secret": "venue"}, 0), ({"secret": "database"}, 1)]
    assert found["sidecar.secrets.last_success"] == [({"secret": "venue"}, 1767225600.0)]
    assert ({"operation": "login", "outcome": "denied"}, 1) in found["sidecar.secrets.requests"]
    assert found["sidecar.secrets.token.seconds_to_expiry"] == [({}, 1200.0)]
    assert found["sidecar.secrets.seconds_to_max_ttl"] == [({"secret": "database"}, 7200.0)]
    assert found["sidecar.secrets.token.seconds_to_max_ttl"] == [({}, 80_000.0)]


def test_on_the_page_they_have_the_names_that_alerts_ask_for() -> None:
    own = SelfMetrics({}, OtlpSettings())
    status: SecretsStatus = SECRETS
    own.add(secrets_measures(lambda: status))
    own.add(health_measures(lambda: (HealthCondition(name="LoopTurns", ok=True),)))
    names = {sample.name for family in own.registry.collect() for sample in family.samples}
    own.close()
    assert {
        "sidecar_secrets_seconds_to_expiry",
        "sidecar_secrets_generation_published",
        "sidecar_secrets_rejections_total",
        "sidecar_condition",
        "sidecar_probe",
    } <= names
