"""A simulated month: which minutes each burn alert fires in, and what the report says of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
import yaml

from tests.integration.monitoring.month import DAY, MINUTES, STEP, Month, firing, month
from tests.integration.monitoring.prometheus import MONITORING, SHIPPED, Prometheus, serving
from tests.require import require_binary

pytestmark = [pytest.mark.real, pytest.mark.slow]
OBJECTIVES: dict[str, Any] = yaml.safe_load((MONITORING / "objectives.yaml").read_text())
FACTORS = {"1h": 14.4, "6h": 6.0, "1d": 3.0, "3d": 1.0}
SIMULATED = ("order-availability", "price-freshness")
DONE: Month = month()
REPORTED = 10 * DAY
"""Part of it that is reported: blocks of a whole month take a minute to make."""


def objective(name: str) -> dict[str, Any]:
    return dict(next(item for item in OBJECTIVES["objectives"] if item["name"] == name))


def expected(name: str) -> dict[str, set[int]]:
    """By alert, the minutes in which it fires."""
    return {
        f"{name.title().replace('-', '')}Burn{burn['long']}": set(
            firing(burn, objective(name), DONE, FACTORS[burn["long"]])
        )
        for burn in OBJECTIVES["burn"]
    }


def spans(minutes: set[int]) -> list[tuple[int, int]]:
    found: list[list[int]] = []
    for at in sorted(minutes):
        if found and found[-1][1] == at - STEP:
            found[-1][1] = at
        else:
            found.append([at, at])
    return [(first, last) for first, last in found]


def groups(name: str) -> list[dict[str, Any]]:
    """The shipped rules of one objective, and the market's."""
    return [
        {**group, "rules": [rule for rule in group["rules"] if rule.get("labels", {}).get("slo", name) == name]}
        for group in SHIPPED["groups"]
        if group["name"] == "market" or group["name"].startswith("slo.")
    ]


def values(samples: Sequence[int]) -> str:
    """Samples as promtool writes them, runs of one step as one word."""
    words = []
    at = 0
    while at < len(samples):
        end = at + 1
        step = samples[end] - samples[at] if end < len(samples) else 0
        while end < len(samples) and samples[end] - samples[end - 1] == step:
            end += 1
        words.append(f"{samples[at]}+{step}x{end - at - 1}")
        at = end
    return " ".join(words)


def checkpoints(alerts: dict[str, set[int]]) -> list[int]:
    """Each half hour, and each minute around where something begins or ends."""
    edges = {edge for minutes in alerts.values() for span in spans(minutes) for edge in span}
    near = {at + off * STEP for at in edges for off in range(-3, 4)}
    return sorted(at for at in near | set(range(30, MINUTES, 30)) if 0 < at < MINUTES)


SERIES = {
    'broker_orders_total{status="received"}': DONE.received,
    'broker_orders_total{status="unknown"}': DONE.lost,
    'broker_stream_last_message_age_seconds{stream="prices"}': DONE.price_age,
}


@pytest.mark.parametrize("name", SIMULATED)
def test_burn_alerts_fire_in_the_minutes_that_arithmetic_says(name: str, tmp_path: Path) -> None:
    alerts = expected(name)
    case = {
        "interval": f"{STEP}m",
        "input_series": [{"series": series, "values": values(samples[::STEP])} for series, samples in SERIES.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{at}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}"}}', "value": 1}
                    for alert, minutes in alerts.items()
                    if at in minutes
                ],
            }
            for at in checkpoints(alerts)
        ],
    }
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups(name)}))
    order = ["market", "slo.recording", "slo.burn"]
    tree = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{STEP}m", "group_eval_order": order}
    (tmp_path / "month.yaml").write_text(json.dumps(tree | {"tests": [case]}))
    command = [require_binary("promtool"), "test", "rules", str(tmp_path / "month.yaml")]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]


def recorded() -> dict[str, str]:
    """Parts of the rules that the report reads, by series, as expressions that do not read each other."""
    by_name = {rule["record"]: rule["expr"] for rule in groups("")[0]["rules"]}
    opened = by_name["market:open"].replace("market:bell:hour", f"({by_name['market:bell:hour']})")
    found = {"market:open": opened}
    for rule in (rule for name in SIMULATED for group in groups(name) for rule in group["rules"]):
        if rule.get("record") in ("slo:bad:indicator", "slo:objective:ratio"):
            series = f'{rule["record"]}{{slo="{rule["labels"]["slo"]}"}}'
            found[series] = rule["expr"].replace("market:open ==", f"({opened}) ==")
    return found


def raw() -> Iterator[str]:
    for series, samples in SERIES.items():
        if "unknown" not in series:
            yield f"# TYPE {series.partition('{')[0]} unknown"
        yield from (f"{series} {samples[at]} {at * 60}" for at in range(0, REPORTED + 1, STEP))
    yield "# EOF\n"


async def over(server: Prometheus, expr: str, start: float, end: float, step_s: int) -> list[tuple[int, str]]:
    """Moments and values of an expression's only series; none where it has none."""
    span = {"query": expr, "start": start, "end": end, "step": step_s}
    async with server.session.post(f"{server.url}/api/v1/query_range", data=span) as answer:
        found = (await answer.json())["data"]["result"]
    return [(int(at), value) for series in found for at, value in series["values"]]


async def history(server: Prometheus) -> AsyncIterator[str]:
    """The series that the rules would have recorded."""
    for name in dict.fromkeys(series.partition("{")[0] for series in recorded()):
        yield f"# TYPE {name} unknown"
        for series, expr in recorded().items():
            if series.partition("{")[0] == name:
                for day in range(0, REPORTED, DAY):
                    end = (day + DAY - STEP) * 60
                    for at, value in await over(server, expr, day * 60, end, STEP * 60):
                        yield f"{series} {value} {at}"
    yield "# EOF\n"


async def _fill(place: Path, lines: list[str]) -> None:
    (place / "samples.txt").write_text("\n".join(lines))
    arguments = ("tsdb", "create-blocks-from", "openmetrics", "--quiet", str(place / "samples.txt"))
    process = await asyncio.create_subprocess_exec(
        require_binary("promtool"), *arguments, str(place / "data"), stdout=subprocess.DEVNULL
    )
    assert await process.wait() == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """A Prometheus that scraped the month, and to which its rules were applied afterwards."""
    place = tmp_path_factory.mktemp("month")
    (place / "prometheus.yml").write_text("{}")
    await _fill(place, list(raw()))
    async with serving(place, "--storage.tsdb.retention.time=100y") as found:
        lines = [line async for line in history(found)]
    await _fill(place, lines)
    async with serving(place, "--storage.tsdb.retention.time=100y") as found:
        yield found


@pytest.mark.asyncio(loop_scope="module")
async def test_the_report_of_the_month_is_what_was_done_to_it(server: Prometheus) -> None:
    command = ["-m", "tools.monitoring.sla", "--prometheus", server.url, "--month", "1970-01", "--json"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=subprocess.PIPE)
    found = {item["name"]: item for item in json.loads((await process.communicate())[0])["objectives"]}
    orders, prices = (found[name] for name in SIMULATED)
    assert orders["bad"] == pytest.approx(DONE.lost[REPORTED], rel=1e-3)
    assert orders["total"] == pytest.approx(DONE.received[REPORTED], rel=1e-3)
    assert orders["budget_left"] == pytest.approx(1 - DONE.lost[REPORTED] / DONE.received[REPORTED] / 0.001, abs=0.01)
    assert prices["total"] == pytest.approx(DONE.seen[REPORTED // STEP] * STEP, rel=2e-3)
    assert prices["bad"] == pytest.approx(DONE.stale[REPORTED // STEP] * STEP, abs=2 * STEP)
    assert orders["coverage"] == pytest.approx(10 / 31, abs=2e-3)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("year", [2025, 2026, 2027])
async def test_the_market_is_open_by_the_clock_of_new_york(server: Prometheus, year: int) -> None:
    start = datetime(year, 1, 1, tzinfo=UTC)
    end = start + timedelta(days=365)
    samples = await over(server, recorded()["market:open"], start.timestamp(), end.timestamp(), 3600)
    wrong = [at for at, value in samples if bool(float(value)) != traded(datetime.fromtimestamp(at, UTC))]
    assert (len(samples), wrong) == (365 * 24 + 1, [])


def traded(moment: datetime) -> bool:
    """From Sunday to Friday, 17:00 in New York."""
    there = moment.astimezone(ZoneInfo("America/New_York"))
    day = there.weekday()
    return day < 4 or (day == 4 and there.hour < 17) or (day == 6 and there.hour >= 17)
