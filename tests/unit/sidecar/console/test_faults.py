"""The table of faults, and the page of the documentation that repeats it."""

from __future__ import annotations

import re
from pathlib import Path

import click

from sidecar.__main__ import main
from sidecar.console.doctor import VAULT_FAULTS
from sidecar.console.faults import FAULTS
from sidecar.health.conditions import PROBES
from sidecar.health.probes import PATHS
from tests.unit.sidecar.console.test_doctor import SEEDED

PAGE = (Path(__file__).parents[4] / "docs" / "console.md").read_text()


def rows(heading: str) -> dict[str, str]:
    """The first cells of the tables below a heading, without their backticks, and the rest of the row."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = [line.strip("|").split("|", 1) for line in section.splitlines() if line.startswith("| `")]
    return {first.strip().strip("`"): rest.strip(" |") for first, rest in cells}


def test_the_page_lists_every_probe_with_its_conditions() -> None:
    listed = rows("Probes")
    for probe, conditions in PROBES.items():
        assert re.findall(r"`([A-Z]\w+)`", listed[f"/{probe}"]) == list(conditions)
    aliases = {path for path in PATHS if path.lstrip("/") not in PROBES}
    assert {path for path in aliases if f"`{path}`" in PAGE} == aliases


def test_the_page_lists_every_fault_with_its_meaning() -> None:
    assert rows("What the doctor knows") == {name: item.meaning for name, item in FAULTS.items()}


def test_every_fault_is_one_that_the_doctor_finds() -> None:
    found = {name for name, _ in SEEDED} | set(VAULT_FAULTS.values()) | {"sidecar_unreachable"}
    assert set(FAULTS) == found


def test_a_fault_explains_only_faults_that_there_are() -> None:
    assert {name for item in FAULTS.values() for name in item.explains} <= set(FAULTS)


def test_the_next_commands_are_commands_that_there_are() -> None:
    assert isinstance(main, click.Group)
    programs = {"kubectl", "curl", "time", "openssl", "bao", "df", "ls", "sidecar", "broker"}
    for fault in FAULTS.values():
        for command in fault.command.split("; "):
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
