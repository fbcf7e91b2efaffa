"""Evidence of the security model: each claim names tests, and each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
_, _, REST = PAGE.partition("## Threats and defences\n")
THREATS, _, _ = REST.partition("\n## ")
CLAIMS = [
    tuple(cell.strip() for cell in line.strip("|").split(" | "))
    for line in THREATS.splitlines()
    if line.startswith("| ") and line != "| claim | shown by |"
]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py::\w+)`", PAGE)))


def test_the_page_has_claims_under_every_threat() -> None:
    sections = THREATS.split("\n### ")[1:]
    assert len(sections) > 15
    assert [text.partition("\n")[0] for text in sections if text.count("\n| ") < 2] == []


@pytest.mark.parametrize("claim", CLAIMS, ids=[str(number) for number in range(len(CLAIMS))])
def test_a_claim_names_a_test(claim: tuple[str, ...]) -> None:
    assert len(claim) == 2
    assert re.fullmatch(r"`[\w/]+\.py::\w+`(, `[\w/]+\.py::\w+`)*", claim[1]), claim


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_exists(name: str) -> None:
    file, _, function = name.partition("::")
    path = ROOT / "tests" / file
    assert path.is_file()
    assert re.search(rf"^ *(async )?def {function}\(", path.read_text(encoding="utf-8"), re.MULTILINE)
