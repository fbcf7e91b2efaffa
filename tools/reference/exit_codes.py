"""Exit codes, from the constants of the modules that end a process."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tools.reference.markdown import code, made, table

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("broker", "producer", "sidecar", "pod_runtime")
MEANINGS = {
    "EX_OK": "all went well: the process drained in order, or the command found nothing wrong",
    "EX_FINDINGS": "the command found something that is not well, and printed it",
    "EX_REFUSED": "the broker or the venue refused what the command asked for",
    "EX_USAGE": "wrong arguments",
    "EX_UNAVAILABLE": "an address or directory is not to be had; a command: nobody answers",
    "EX_SOFTWARE": "a bug, or a stalled event loop (watchdog); the log has it",
    "EX_NOPERM": "the API key is not accepted, or its scopes do not allow it",
    "EX_CONFIG": "the configuration has faults; all of them are printed",
}
HEAD = """# Exit codes

{made}
The numbers are those of `sysexits.h`. A command line that is not understood ends with 2. A process that a second
signal finds draining goes on draining; SIGKILL shows as 137.
"""


class UnexplainedError(LookupError):
    """An exit code has no meaning here yet: add it to MEANINGS."""


def page() -> str:
    """The page.

    Raises:
        UnexplainedError: the code has a constant that this module does not know.
    """
    users: dict[tuple[int, str], set[str]] = defaultdict(set)
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for name, value in _constants(ast.parse(path.read_text(encoding="utf-8"))):
            users[value, name].add(str(path.relative_to(ROOT)))
    if unknown := {name for _, name in users} - MEANINGS.keys():
        raise UnexplainedError(", ".join(sorted(unknown)))
    rows = [
        (str(value), code(name), MEANINGS[name], ", ".join(map(code, sorted(paths))))
        for (value, name), paths in sorted(users.items())
    ]
    return HEAD.format(made=made("constants in the code")) + "\n" + table(("code", "name", "means", "used in"), rows)


def _constants(module: ast.Module) -> Iterator[tuple[str, int]]:
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                yield from _pairs(target, statement.value)


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, int]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for inner, item in zip(target.elts, value.elts, strict=True):
            yield from _pairs(inner, item)
    elif isinstance(target, ast.Name) and target.id.startswith("EX_") and isinstance(value, ast.Constant):
        yield target.id, int(str(value.value))
