from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from broker.api.process_metrics import ProcessMetrics, metrics_route
from broker.api.settings import ApiSettings
from producer.health import EmitterLedger
from tests.unit.broker.api.asgi import Answer
from tests.unit.broker.api.conftest import ACCOUNT, Client
from tests.unit.broker.secret_volume import KEYS

ROOT = Path(__file__).resolve().parents[4]
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
FULL = EmitterLedger(
    emitted=10,
    acknowledged=4,
    held=3,
    spool_bytes=120,
    dropped={("broker.price", "spool_full"): 2, ("unknown", "unknown_event"): 1},
    coerced={("broker.order.filled", "wrong_type"): 5},
)


@dataclass
class FakeEmitter:
    """An emitter together with its stream."""

    counts: EmitterLedger
    connected: bool = True

    def ledger(self) -> EmitterLedger:
        return self.counts


def page(*emitters: FakeEmitter) -> ProcessMetrics:
    return ProcessMetrics("1.2.3", [(cast("Any", item), cast("Any", item)) for item in emitters])


def samples(text: str) -> dict[str, float]:
    """Series as they are written, with their values."""
    found = {}
    for family in parse_text(text):
        for item in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(item.labels.items()))
            found[item.name + (f"{{{labels}}}" if labels else "")] = item.value
    return found


def own(*emitters: FakeEmitter) -> dict[str, float]:
    text = page(*emitters).render("")[0].decode()
    return {name: value for name, value in samples(text).items() if name.startswith("broker_")}


@pytest.fixture
def scraped(api: Client) -> Client:
    api.app.include_router(metrics_route(page(FakeEmitter(FULL))))
    return api


def test_ledger_and_stream_are_told() -> None:
    assert own(FakeEmitter(FULL)) == {
        'broker_build_info{version="1.2.3"}': 1,
        "broker_emitter_events_total": 10,
        "broker_emitter_acknowledged_events_total": 4,
        "broker_emitter_held_events": 3,
        'broker_emitter_dropped_events_total{event="broker.price",reason="spool_full"}': 2,
        'broker_emitter_dropped_events_total{event="unknown",reason="unknown_event"}': 1,
        'broker_emitter_mended_values_total{event="broker.order.filled",reason="wrong_type"}': 5,
        "broker_emitter_spool_bytes": 120,
        "broker_emitter_streams": 1,
        "broker_emitter_connected_streams": 1,
    }


def test_emitters_of_several_accounts_are_added_up() -> None:
    other = EmitterLedger(emitted=100, acknowledged=90, held=9, dropped={("broker.price", "spool_full"): 1})

    found = own(FakeEmitter(FULL), FakeEmitter(other, connected=False))

    assert found["broker_emitter_events_total"] == 110
    assert found["broker_emitter_acknowledged_events_total"] == 94
    assert found["broker_emitter_held_events"] == 12
    assert found['broker_emitter_dropped_events_total{event="broker.price",reason="spool_full"}'] == 3
    assert (found["broker_emitter_streams"], found["broker_emitter_connected_streams"]) == (2, 1)


def test_each_scrape_asks_anew() -> None:
    emitter = FakeEmitter(FULL, connected=False)
    made = page(emitter)
    before = samples(made.render("")[0].decode())["broker_emitter_connected_streams"]
    emitter.connected = True

    assert (before, samples(made.render("")[0].decode())["broker_emitter_connected_streams"]) == (0, 1)


@pytest.mark.parametrize(
    "name",
    [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
        "process_max_fds",
        'python_gc_collections_total{generation="0"}',
        'python_gc_objects_collected_total{generation="0"}',
        'python_gc_objects_uncollectable_total{generation="2"}',
    ],
)
def test_process_and_collector_of_garbage_are_told(name: str) -> None:
    assert name in samples(page().render("")[0].decode())


def test_openmetrics_is_served_to_who_asks_for_it() -> None:
    content, media_type = page(FakeEmitter(FULL)).render(
        "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    )

    parsed = parse_openmetrics(content.decode())  # type: ignore[no-untyped-call] # prometheus_client leaves it so
    families = {family.name: family.type for family in parsed}
    assert media_type == OPENMETRICS
    assert (families["broker_build"], families["broker_emitter_dropped_events"]) == ("info", "counter")


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        "application/openmetrics-text;version=abc",
        "text/plain;version=1.0.0evil",
        ";;,,=",
        "\xff",
    ],
)
def test_an_accept_that_nobody_understands_gets_plain_text(accept: str) -> None:
    assert page().render(accept)[1] == PLAIN


async def scrape(api: Client, *, key: str | None = None) -> Answer:
    return await api("GET", "/metrics", key=key)


async def test_it_needs_no_key_and_leaves_no_event(scraped: Client) -> None:
    answer = await scrape(scraped)

    assert (answer.status, answer.headers["content-type"], answer.headers["cache-control"]) == (200, PLAIN, "no-store")
    assert scraped.events == []


async def test_it_answers_before_there_are_secrets_and_while_draining(scraped: Client) -> None:
    scraped.keys.append(None)
    scraped.context.ready.clear()
    scraped.context.drain.set()

    assert (await scrape(scraped)).status == 200


@pytest.mark.parametrize("settings", [ApiSettings(tls="off", request_burst=1, requests_per_s=0.1)])
async def test_it_takes_nothing_of_a_callers_quota(scraped: Client) -> None:
    for _ in range(3):
        await scrape(scraped, key=KEYS["flow"])

    assert (await scraped("GET", "/v1/account")).status == 200
    assert (await scraped("GET", "/v1/account")).status == 429


async def test_it_is_no_operation_of_the_api(scraped: Client) -> None:
    assert "/metrics" not in (await scraped("GET", "/openapi.json", key=None)).json()["paths"]
    assert (await scraped("POST", "/metrics", key=None, body={})).problem == "method-not-allowed"


async def test_it_names_no_account_and_no_key(scraped: Client) -> None:
    text = (await scrape(scraped)).content.decode()

    assert [secret for secret in (ACCOUNT, *KEYS.values()) if secret in text] == []


def exposed(place: str) -> set[str]:
    """Names in the second column of a table of metrics."""
    return set(re.findall(r"^\| `[^`]+` \| `([^`]+)` \|", (ROOT / "docs" / place).read_text(), re.MULTILINE))


def test_only_what_every_process_says_of_itself_is_on_the_sidecars_page_too() -> None:
    ours = {name.partition("{")[0] for name in samples(page(FakeEmitter(FULL)).render("")[0].decode())}

    assert exposed("telemetry.md") >= {"broker_orders_total"}
    assert ours & exposed("telemetry.md") == set()
    assert ours & exposed("reference/sidecar-metrics.md") == {"process_open_fds", "process_start_time_seconds"}
