from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.require import require_binary

ROOT = Path(__file__).resolve().parents[3]
MONITORING = ROOT / "k8s" / "monitoring"
OBJECTIVES: dict[str, Any] = yaml.safe_load((MONITORING / "objectives.yaml").read_text())


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())["groups"]:
        yield from group["rules"]


ALERTS = [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    binary = require_binary("promtool")
    return subprocess.run([binary, *arguments], check=False, cwd=MONITORING / "tests", capture_output=True, text=True)


def test_prometheus_takes_every_rule() -> None:
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", "../prometheus-rules.yaml")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_alert_fires_on_its_series_and_not_on_good_ones(tmp_path: Path) -> None:
    """Without the objectives' rules, which each case would evaluate too: they have their own tests below."""
    groups = yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())["groups"]
    written = [group for group in groups if not group["name"].startswith("slo.")]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": written}))
    cases = yaml.safe_load((MONITORING / "tests" / "alerts.yaml").read_text())
    assert {case["alert_rule_test"][0]["alertname"] for case in cases["tests"]} == {
        rule["alert"] for group in written for rule in group["rules"] if "alert" in rule
    }
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump({**cases, "rule_files": ["rules.yaml"]}))
    result = promtool("test", "rules", str(tmp_path / "alerts.yaml"))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_a_person_needs(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket", "none")
    assert rule["labels"]["team"] in ("trading", "platform")
    assert {"summary", "description", "runbook_url", "dashboard_url"} <= set(rule["annotations"])
    assert len(rule["annotations"]["description"]) > 40


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_a_description_is_one_text_where_details_are_read_as_yaml(rule: dict[str, Any]) -> None:
    """Alertmanager from 0.30 on reads PagerDuty's details so: a colon and a space would make an object of them."""
    described = re.sub(r"\{\{.*?\}\}", "7", rule["annotations"]["description"])
    assert yaml.safe_load(described) == described


def test_burn_factors_are_those_of_the_budget_and_the_window() -> None:
    factors = {
        rule["alert"]: float(rule["expr"].split(" > ")[1].split(" * ")[0]) for rule in ALERTS if "slo" in rule["labels"]
    }
    assert factors["OrderAvailabilityBurn1h"] == 14.4
    assert factors["OrderAvailabilityBurn6h"] == 6.0
    assert factors["OrderAvailabilityBurn1d"] == 3.0
    assert factors["OrderAvailabilityBurn3d"] == 1.0
    assert len(factors) == len(OBJECTIVES["objectives"]) * len(OBJECTIVES["burn"])


@pytest.mark.parametrize(("sidecars", "fires"), [("1x60", True), ("_x60", False)], ids=["known", "unknown"])
def test_no_target_of_the_brokers_own_pages_pages_where_sidecars_are_known(
    tmp_path: Path, sidecars: str, *, fires: bool
) -> None:
    """BrokerMissing says so where none is known."""
    groups = yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())["groups"]
    (group,) = [item for item in groups if item["name"] == "broker.process"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    (alert,) = group["rules"]
    expected = {
        "exp_labels": {"job": "broker-api", "severity": "page", "team": "platform"},
        "exp_annotations": {**alert["annotations"], "summary": "Prometheus scrapes no broker process"},
    }
    case = {
        "interval": "30s",
        "input_series": [{"series": 'up{job="broker/broker-sidecar",pod="broker-1"}', "values": sidecars}],
        "alert_rule_test": [
            {"eval_time": "1m", "alertname": alert["alert"], "exp_alerts": []},
            {"eval_time": "20m", "alertname": alert["alert"], "exp_alerts": [expected] if fires else []},
        ],
    }
    tree = {"rule_files": ["rules.yaml"], "evaluation_interval": "30s", "tests": [case]}
    (tmp_path / "absent.yaml").write_text(yaml.safe_dump(tree))
    result = promtool("test", "rules", str(tmp_path / "absent.yaml"))
    assert result.returncode == 0, result.stdout + result.stderr


def burn_test(bad_per_minute: float, hour: str, alert: str, orders_per_minute: float = 100) -> dict[str, Any]:
    """Ninety minutes of orders, one in a hundred bad or as told, starting at an hour of Wednesday or Saturday."""
    return {
        "rule_files": ["../prometheus-rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": 'broker_orders_total{status="received"}', "values": f"0+{orders_per_minute}x6000"},
                    {"series": 'broker_orders_total{status="unknown"}', "values": f"0+{bad_per_minute}x6000"},
                ],
                "promql_expr_test": [{"expr": f'ALERTS{{alertname="{alert}",alertstate="firing"}}', "eval_time": hour}],
            }
        ],
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad_per_minute", "moment", "fires"),
    # promtool's clock starts on Thursday, 1 January 1970, at midnight.
    [(3, "90m", True), (0, "90m", False), (1, "90m", False), (3, "50h", False)],
    ids=["3 % bad on Thursday", "nothing bad", "1 % bad: below the page's factor", "3 % bad on Saturday"],
)
def test_a_burnt_budget_pages_within_market_hours(
    tmp_path: Path, bad_per_minute: int, moment: str, *, fires: bool
) -> None:
    case = burn_test(bad_per_minute, moment, "OrderAvailabilityBurn1h")
    case["rule_files"] = [str(MONITORING / "prometheus-rules.yaml")]
    expected = {
        "labels": 'ALERTS{alertname="OrderAvailabilityBurn1h",alertstate="firing",'
        'severity="page",slo="order-availability",team="trading"}',
        "value": 1,
    }
    case["tests"][0]["promql_expr_test"][0]["exp_samples"] = [expected] if fires else []
    file = tmp_path / "burn.yaml"
    file.write_text(yaml.safe_dump(case))
    result = promtool("test", "rules", str(file))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_one_lost_order_of_a_quiet_night_does_not_page(tmp_path: Path) -> None:
    """Six orders in an hour, one of two lost: half of all, but too few to say so."""
    case = burn_test(0.05, "90m", "OrderAvailabilityBurn1h", orders_per_minute=0.1)
    case["rule_files"] = [str(MONITORING / "prometheus-rules.yaml")]
    case["tests"][0]["promql_expr_test"][0]["exp_samples"] = []
    file = tmp_path / "quiet.yaml"
    file.write_text(yaml.safe_dump(case))
    result = promtool("test", "rules", str(file))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("alert", ["VenueDisconnected", "PricesStale"])
@pytest.mark.parametrize(("moment", "fires"), [("20h", True), ("50h", False)], ids=["Thursday", "Saturday"])
def test_a_silent_venue_pages_while_the_market_is_open(tmp_path: Path, alert: str, moment: str, *, fires: bool) -> None:
    groups = yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())["groups"]
    kept = [
        {**group, "rules": [rule for rule in group["rules"] if rule.get("alert", alert) == alert]}
        for group in groups
        if group["name"] in ("market", "broker.venue")
    ]
    series = {
        'broker_connection_status{channel="rest"}': "0x600",
        'broker_stream_last_message_age_seconds{stream="prices"}': "60x600",
    }
    case = {
        "interval": "5m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count(ALERTS{alertstate="firing"})',
                "eval_time": moment,
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": kept}))
    tree = {"rule_files": ["rules.yaml"], "evaluation_interval": "5m", "tests": [case]}
    (tmp_path / "closed.yaml").write_text(yaml.safe_dump(tree))
    result = promtool("test", "rules", str(tmp_path / "closed.yaml"))
    assert result.returncode == 0, result.stdout + result.stderr


BURNING: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "order-availability": (
        {'broker_orders_total{status="received"}': "0+100x1300", 'broker_orders_total{status="unknown"}': "0+3x1300"},
        {'broker_orders_total{status="received"}': "0+10000x1300", 'broker_orders_total{status="unknown"}': "0+5x1300"},
    ),
    "order-latency": (
        {
            "broker_order_duration_seconds_count": "0+100x1300",
            'broker_order_duration_seconds_bucket{le="1.5"}': "0+80x1300",
        },
        {
            "broker_order_duration_seconds_count": "0+1000x1300",
            'broker_order_duration_seconds_bucket{le="1.5"}': "0+995x1300",
        },
    ),
    "price-freshness": (
        {'broker_stream_last_message_age_seconds{stream="prices"}': "60x1300"},
        {'broker_stream_last_message_age_seconds{stream="prices"}': "5x1300"},
    ),
    "telemetry-ledger": (
        {"telemetry_events_received_total": "0+1000x1300", "telemetry_dropped_total": "0+5x1300"},
        {"telemetry_events_received_total": "0+100000x1300", "telemetry_events_rejected_total": "0+5x1300"},
    ),
    "secret-freshness": (
        {"sidecar_secrets_seconds_to_expiry": "30x1300"},
        {"sidecar_secrets_seconds_to_expiry": "90x1300"},
    ),
}
"""By objective, a Thursday on which the budget burns more than 14.4 times too fast, or half as fast as it may."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [item["name"] for item in OBJECTIVES["objectives"]])
@pytest.mark.parametrize("burns", [True, False], ids=["burns", "quiet"])
def test_all_four_burn_alerts_of_an_objective_fire_or_none(tmp_path: Path, name: str, *, burns: bool) -> None:
    groups = yaml.safe_load((MONITORING / "prometheus-rules.yaml").read_text())["groups"]
    kept = [
        {**group, "rules": [rule for rule in group["rules"] if rule.get("labels", {}).get("slo", name) == name]}
        for group in groups
        if group["name"] == "market" or group["name"].startswith("slo.")
    ]
    prefix = name.title().replace("-", "")
    firing = [{"labels": f'{{alertname="{prefix}Burn{item["long"]}"}}', "value": 1} for item in OBJECTIVES["burn"]]
    case = {
        "interval": "1m",
        "input_series": [{"series": key, "values": text} for key, text in BURNING[name][not burns].items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "20h",
                "exp_samples": firing if burns else [],
            }
        ],
    }
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": kept}))
    # Prometheus 3 leaves the left end of a window out, and promtool draws the order of groups: with the look-back of
    # 5 min as the interval a rule would not see what another group has recorded before it.
    tree = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}
    (tmp_path / "burn.yaml").write_text(yaml.safe_dump(tree))
    result = promtool("test", "rules", str(tmp_path / "burn.yaml"))
    assert result.returncode == 0, result.stdout + result.stderr
