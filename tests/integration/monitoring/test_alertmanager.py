from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.monitoring.alerting import SHIPPED, alert, running_alertmanager

pytestmark = pytest.mark.real
CONFIGURATION: dict[str, Any] = yaml.safe_load((SHIPPED / "alertmanager.yaml").read_text())
RULES: dict[str, Any] = yaml.safe_load((SHIPPED / "prometheus-rules.yaml").read_text())
QUIET_S = 3.0
"""Longer than every timer of the test's configuration: what has not come by then does not come."""


async def test_a_page_reaches_pagerduty_with_what_a_person_needs(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        await server.send(alert("OrdersUnknown", pod="broker-1"))
        await server.inbox.wait(lambda inbox: len(inbox.pagerduty) == 1)
    (event,) = server.inbox.pagerduty
    assert event["routing_key"] == "key-of-pagerduty-trading"
    assert event["event_action"] == "trigger"
    assert event["payload"]["summary"] == "[broker] OrdersUnknown: OrdersUnknown happened"
    assert event["payload"]["severity"] == "critical"
    assert event["payload"]["component"] == "broker"
    assert event["payload"]["custom_details"]["pods"] == "broker-1 "
    assert [link["href"] for link in event["links"]] == [
        "https://runbooks.example.internal/OrdersUnknown",
        "https://grafana.example.internal/d/orders",
    ]


async def test_a_storm_of_fifty_pods_is_one_page(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        await server.send(*(alert("VenueDisconnected", pod=f"broker-{number}") for number in range(50)))
        await server.inbox.wait(lambda inbox: bool(inbox.pagerduty))
        await asyncio.sleep(QUIET_S)
    assert len({event["dedup_key"] for event in server.inbox.pagerduty}) == 1
    assert server.inbox.pagerduty[-1]["payload"]["summary"].endswith("(and 50 in all)")


async def test_an_end_resolves_the_same_incident(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        await server.send(alert("TradingHalted"))
        await server.inbox.wait(lambda inbox: len(inbox.events("trigger")) == 1)
        await server.send(alert("TradingHalted", resolved=True))
        await server.inbox.wait(lambda inbox: len(inbox.events("resolve")) == 1)
        await server.inbox.wait(lambda inbox: len(inbox.slack) == 2)
    assert server.inbox.events("resolve")[0]["dedup_key"] == server.inbox.events("trigger")[0]["dedup_key"]
    assert [item["attachments"][0]["color"] for item in server.inbox.slack] == ["danger", "good"]
    assert {item["channel"] for item in server.inbox.slack} == {"#broker-pages"}


async def test_a_cause_silences_its_effects(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        await server.send(alert("VenueDisconnected"), alert("PricesStale"), alert("VenueErrorsHigh"))
        await server.inbox.wait(lambda inbox: bool(inbox.pagerduty))
        await asyncio.sleep(QUIET_S)
    assert {event["payload"]["class"] for event in server.inbox.pagerduty} == {"VenueDisconnected"}


async def test_a_broker_that_hangs_or_a_pod_that_is_gone_is_one_page_and_another_pod_is_another(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        await server.send(
            alert("BrokerSilent", pod="broker-1"),
            alert("BrokerApiUnreachable", team="platform", pod="broker-1"),
            alert("BrokerApiUnreachable", team="platform", pod="broker-2"),
            alert("SidecarDown", team="platform", pod="broker-2"),
        )
        await server.inbox.wait(lambda inbox: len(inbox.pagerduty) >= 2)
        await asyncio.sleep(QUIET_S)
    told = {(event["payload"]["class"], event["payload"]["custom_details"]["pods"]) for event in server.inbox.pagerduty}
    assert told == {("BrokerSilent", "broker-1 "), ("BrokerApiUnreachable", "broker-2 ")}


def matched(matchers: Iterable[str]) -> dict[str, str]:
    """The alerts that an inhibition names, with their severities."""
    (pattern,) = (re.fullmatch(r'alertname=~?"(.+)"', item) for item in matchers)
    assert pattern is not None
    alerts = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
    return {
        rule["alert"]: rule["labels"]["severity"] for rule in alerts if re.fullmatch(pattern.group(1), rule["alert"])
    }


def test_a_ticket_never_silences_a_page() -> None:
    for inhibition in CONFIGURATION["inhibit_rules"][:-1]:
        sources, targets = matched(inhibition["source_matchers"]), matched(inhibition["target_matchers"])
        assert sources
        assert targets
        assert "page" in sources.values() or "page" not in targets.values(), inhibition


async def test_a_sidecar_that_is_down_silences_nothing_of_another_pod(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        await server.send(
            alert("SidecarDown", team="platform", pod="broker-1"),
            alert("BrokerSilent", pod="broker-2"),
            alert("SecretInLogs", team="platform"),
        )
        await server.inbox.wait(lambda inbox: len(inbox.pagerduty) == 3)
    told = {event["payload"]["class"] for event in server.inbox.pagerduty}
    assert told == {"SidecarDown", "BrokerSilent", "SecretInLogs"}


async def test_a_page_silences_the_ticket_of_the_same_alert(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        await server.send(alert("JournalSlow"), alert("JournalSlow", severity="ticket", team="platform"))
        await server.inbox.wait(lambda inbox: bool(inbox.pagerduty))
        await asyncio.sleep(QUIET_S)
    assert {item["channel"] for item in server.inbox.slack} == {"#broker-pages"}


async def test_platform_pages_go_to_the_platform_team(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        await server.send(alert("VaultUnreachable", team="platform"))
        await server.inbox.wait(lambda inbox: bool(inbox.pagerduty))
    assert {event["routing_key"] for event in server.inbox.pagerduty} == {"key-of-pagerduty-platform"}


async def test_a_ticket_waits_for_working_hours(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path, at_work=False) as server:
        await server.send(alert("RiskDenialsHigh", severity="ticket"))
        await asyncio.sleep(QUIET_S)
    assert (server.inbox.slack, server.inbox.pagerduty) == ([], [])


async def test_a_ticket_goes_to_slack_alone(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        await server.send(alert("RiskDenialsHigh", severity="ticket"))
        await server.inbox.wait(lambda inbox: bool(inbox.slack))
    assert {item["channel"] for item in server.inbox.slack} == {"#broker-tickets"}
    assert server.inbox.pagerduty == []


async def test_the_watchdog_beats_outside(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as server:
        await server.send(alert("Watchdog", severity="none", team="platform"))
        await server.inbox.wait(lambda inbox: bool(inbox.beats))
    assert (server.inbox.pagerduty, server.inbox.slack) == ([], [])
