"""Before Python 3.11.4 what an `except*` clause raises comes out in a group (cpython, gh-103590): raise it behind."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def raised_in_clauses(source: str) -> list[int]:
    """Lines that raise something of their own inside an `except*`."""
    stars = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.TryStar)]
    clauses = [clause for star in stars for clause in star.handlers]
    return [node.lineno for clause in clauses for node in ast.walk(clause) if isinstance(node, ast.Raise) and node.exc]


def test_it_is_found() -> None:
    assert raised_in_clauses("try:\n  f()\nexcept* OSError as group:\n  raise KeyError(1) from None\n") == [4]
    assert raised_in_clauses("try:\n  f()\nexcept* OSError:\n  raise\n") == []
    assert raised_in_clauses("try:\n  f()\nexcept OSError:\n  raise KeyError(1)\n") == []


@pytest.mark.parametrize("name", ["broker", "producer", "sidecar", "pod_runtime", "devstack", "tools"])
def test_no_program_raises_inside_an_except_star(name: str) -> None:
    paths = sorted((ROOT / name).rglob("*.py"))
    assert paths
    found = {str(path.relative_to(ROOT)): raised_in_clauses(path.read_text()) for path in paths}
    assert {path: lines for path, lines in found.items() if lines} == {}
