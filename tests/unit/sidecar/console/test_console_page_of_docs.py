from __future__ import annotations

import re
from pathlib import Path

import click

from sidecar.__main__ import main
from sidecar.console.doctor.remedy import COMMANDS
from sidecar.console.doctor.secrets import _VAULT
from sidecar.health.conditions import PROBES, HealthFacts, evaluate
from sidecar.health.probes import PATHS
from sidecar.health.settings import HealthSettings
from tests.unit.sidecar.console.doctor.test_doctor import SEEDED

PAGE = (Path(__file__).parents[4] / "docs" / "console.md").read_text()


def rows(heading: str) -> dict[str, str]:
    """The first cells of the tables below a heading, without their backticks, and the rest of the row."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = [line.strip("|").split("|", 1) for line in section.splitlines() if line.startswith("| `")]
    return {first.strip().strip("`"): rest for first, rest in cells}


def test_the_page_lists_every_probe_with_its_conditions() -> None:
    listed = rows("Probes")
    for probe, conditions in PROBES.items():
        assert re.findall(r"`([A-Z]\w+)`", listed[f"/{probe}"]) == list(conditions)
    aliases = {path for path in PATHS if path.lstrip("/") not in PROBES}
    assert {path for path in aliases if f"`{path}`" in PAGE} == aliases


def test_the_page_lists_every_condition() -> None:
    found = {item.name for item in evaluate(HealthFacts(now_ns=0), HealthSettings())}
    assert {name for name in rows("Probes") if not name.startswith("/")} == found


def test_the_page_lists_every_fault_that_the_doctor_knows() -> None:
    assert set(rows("What the doctor knows")) == known_faults()


def known_faults() -> set[str]:
    return {name for name, _ in SEEDED} | {fault for fault, _ in _VAULT.values()} | {"sidecar_unreachable"}


def test_every_fault_has_a_next_command() -> None:
    assert set(COMMANDS) == known_faults() | {"secrets_failing"}


def test_the_next_commands_are_commands_that_there_are() -> None:
    assert isinstance(main, click.Group)
    programs = {"kubectl", "curl", "time", "openssl", "bao", "df", "ls", "sidecar", "broker"}
    for line in COMMANDS.values():
        for command in line.split("; "):
            program, *arguments = command.split()
            assert program in programs
            if program == "sidecar" and not arguments[0].startswith("-"):
                assert arguments[0] in main.commands


def test_the_page_lists_every_command() -> None:
    assert isinstance(main, click.Group)
    listed = {
        name.split()[1] for name in rows("Commands") if len(name.split()) > 1 and not name.split()[1].startswith("-")
    }
    assert listed == set(main.commands)
