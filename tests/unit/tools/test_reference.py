from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from broker.orders.conditions import BrokerCondition
from pod_runtime.condition import READY
from producer.health import EmitterCondition
from sidecar.health.conditions import SidecarCondition
from tools.reference.__main__ import PAGES, stale, write
from tools.reference.exit_codes import EXIT_CODES
from tools.reference.markdown import table

ROOT = Path(__file__).resolve().parents[3]
CONDITIONS = (*SidecarCondition, *BrokerCondition, *EmitterCondition)
REASONS = Counter(reason for item in CONDITIONS for reason in item.reasons)


def sources(*packages: str) -> dict[str, str]:
    paths = sorted(path for name in packages for path in (ROOT / name).rglob("*.py"))
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def test_a_page_that_differs_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "reference" / "api.md").write_text("old")
    assert stale(tmp_path) == ["reference/api.md"]


def test_a_page_that_is_missing_is_named(tmp_path: Path) -> None:
    assert stale(tmp_path) == list(PAGES)


def test_conditions_and_their_reasons_are_spelt_alike_in_both_processes() -> None:
    for name in [*CONDITIONS, *REASONS]:
        assert re.fullmatch("([A-Z][a-z0-9]+)+", name), name


def test_every_listed_reason_is_one_that_the_code_gives() -> None:
    """Its text stands in the code more often than the enumerations list it."""
    code = "".join(sources("broker", "producer", "sidecar").values())
    assert [reason for reason, listed in REASONS.items() if code.count(f'"{reason}"') <= listed] == []


def test_every_constant_reason_of_the_broker_is_listed() -> None:
    given = {
        reason
        for text in sources("broker").values()
        if "BrokerCondition." in text
        for reason in re.findall(r'reason="([A-Z][a-z]\w+)"', text)
    }
    assert given - {READY} - set(REASONS) == set()


@pytest.mark.parametrize(
    ("programs", "packages", "apart"),
    [
        (("broker", "broker COMMAND"), ("broker",), "broker/simulator/"),
        (("sidecar", "sidecar COMMAND"), ("sidecar",), "-"),
        (("python -m broker.simulator",), ("broker/simulator",), "-"),
        (("python -m pod_runtime.healthcheck",), ("pod_runtime",), "pod_runtime/cancellation"),
    ],
)
def test_the_exit_codes_of_a_program_are_those_of_its_code(
    programs: tuple[str, ...], packages: tuple[str, ...], apart: str
) -> None:
    texts = [text for path, text in sources(*packages).items() if not path.startswith(apart)]
    used = {name for text in texts for name in re.findall(r"\bEX_[A-Z]+\b", text)}
    assert {item.code for item in EXIT_CODES if item.program in programs} == used


def test_a_bar_in_a_cell_is_escaped() -> None:
    assert table(("a",), [("x | y",)]) == "| a |\n|---|\n| x \\| y |\n"
