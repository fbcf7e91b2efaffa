"""Figures of the code's shape: `python -m tools.shape [ROOT]` prints them beside their goals.

Product code is what people wrote of the wheel: broker, broker_client, producer, sidecar and pod_runtime. Package files
(`__init__.py`) count as lines, but neither as small files nor as files of a folder: a reader never looks for one by
name.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

PACKAGES = ("broker", "broker_client", "producer", "sidecar", "pod_runtime", "runtime")
GENERATED = frozenset({Path("broker_client/models.py"), Path("broker_client/operations.py")})
SMALL_LINES = 50
CLAUSES = frozenset({"what", "who", "how", "where", "whether", "when"})
"""First words of docstrings that name no subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A product module, parsed."""

    path: Path
    lines: list[str]
    tree: ast.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A row: a value and the most, or with `at_least` the least, that it should be."""

    name: str
    value: float
    goal: float
    unit: str = ""
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """True where the goal is met."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def modules(root: Path) -> list[Module]:
    """Every module of the product below `root`."""
    paths = sorted(path for name in PACKAGES for path in (root / name).rglob("*.py"))
    written = [path for path in paths if path.relative_to(root) not in GENERATED]
    texts = [(path.relative_to(root), path.read_text(encoding="utf-8")) for path in written]
    return [Module(path=path, lines=text.splitlines(), tree=ast.parse(text)) for path, text in texts]


def docstrings(module: Module) -> Iterator[str]:
    """Docstrings of the module, its classes and functions."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from filter(None, [ast.get_docstring(node)])


def is_clause(docstring: str) -> bool:
    """True for a docstring that begins with a subordinate clause in place of a noun or an imperative."""
    return (docstring.split() or [""])[0].strip("`*").lower() in CLAUSES


def callable_aliases(found: list[Module]) -> frozenset[str]:
    """Names that modules give to callable types, `Callable` itself among them."""
    named = (
        target.id
        for module in found
        for node in module.tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Callable[")
        for target in node.targets
        if isinstance(target, ast.Name)
    )
    return frozenset(("Callable", *named))


def callables(module: Module, aliases: frozenset[str]) -> Iterator[str]:
    """Parameters of `__init__` that are annotated as callables."""
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                for argument in (*item.args.posonlyargs, *item.args.args, *item.args.kwonlyargs):
                    words = {part.id for part in ast.walk(argument) if isinstance(part, ast.Name)}
                    if words & aliases:
                        yield f"{module.path}:{node.name}.{argument.arg}"


def comment_lines(module: Module) -> int:
    """Lines with a comment that a person reads: suppressions of a linter alone are none."""
    tokens = tokenize.generate_tokens(io.StringIO("\n".join(module.lines) + "\n").readline)
    return sum(
        token.type == tokenize.COMMENT and not re.match(r"# (noqa|type:)[^-]*$", token.string) for token in tokens
    )


def shared_class_names(found: list[Module]) -> dict[str, list[str]]:
    """Names of top-level classes that stand in two modules or more."""
    places: dict[str, list[str]] = defaultdict(list)
    for module in found:
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(module.path))
    return {name: where for name, where in places.items() if len(where) > 1}


def figures(root: Path) -> list[Figure]:
    """All rows for the code below `root`."""
    found = modules(root)
    named = [module for module in found if module.path.name != "__init__.py"]
    lines = sum(len(module.lines) for module in found)
    comments = sum(map(comment_lines, found))
    texts = [text for module in found for text in docstrings(module)]
    aliases = callable_aliases(found)
    folders = Counter(module.path.parent for module in named)
    return [
        Figure(name="lines of product code", value=lines, goal=34_000),
        Figure(name="files below 50 lines", value=sum(len(module.lines) < SMALL_LINES for module in named), goal=15),
        Figure(name="files in the fullest folder", value=max(folders.values()), goal=12),
        Figure(
            name="docstrings that begin with a clause",
            value=100 * sum(map(is_clause, texts)) / len(texts),
            goal=1,
            unit="%",
        ),
        Figure(name="comment lines", value=100 * comments / lines, goal=3, unit="%", at_least=True),
        Figure(name="class names in two modules", value=len(shared_class_names(found)), goal=5),
        Figure(
            name="callable parameters of constructors",
            value=sum(1 for module in found for _ in callables(module, aliases)),
            goal=40,
        ),
    ]


def main(arguments: list[str]) -> int:
    """Prints the rows; 1 where a goal is missed."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[1]
    rows = figures(root)
    table = Table("figure", "value", "goal", "holds")
    for row in rows:
        sign = "≥" if row.at_least else "≤"
        value = f"{row.value:,.1f}" if row.unit else f"{row.value:,.0f}"
        table.add_row(
            row.name, f"{value} {row.unit}", f"{sign} {row.goal:,.0f} {row.unit}", "yes" if row.holds else "NO"
        )
    Console(highlight=False).print(table)
    return int(not all(row.holds for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
