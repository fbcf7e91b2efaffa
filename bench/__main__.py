"""`make bench`: every measurement, each in a process of its own, beside its baseline, one after another.

Writes bench/results.json (a list of `{name, ours, baseline, unit, ratio, goal, holds}`) and prints the table.
`python -m bench emit orders` runs those alone and keeps the other rows of the file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results.json")
MODULES = (
    "emit", "ingest", "collector_cpu", "freshness", "scrape", "process", "searchable", "secrets", "orders",
    "order_process", "prices", "simulator",
)  # fmt: skip
LIMIT_S = 900.0
PIPE_COLUMNS = 140
Row = dict[str, Any]


def run(module: str) -> list[Row]:
    """The rows of one module; a module that fails gives one row that says so."""
    script = f"import json; from bench import {module}; print(json.dumps({module}.rows()))"
    environ = {**os.environ, "GRPC_VERBOSITY": "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0", "PYTHONPATH": ".:proto"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=LIMIT_S, env=environ
        )
        found: list[Row] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        words = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        return [{"name": module, "module": module, "holds": None, "error": words[-1] if words else "no output"}]
    return [{**row, "module": module} for row in found]


def table(rows: list[Row]) -> Table:
    """The rows as people read them."""
    made = Table("what", "ours", "baseline", "unit", "ratio", "goal", "holds")
    for row in rows:
        if "error" in row:
            made.add_row(row["name"], "failed", "", "", "", "", row["error"][:60])
            continue
        words = [_text(row.get(key)) for key in ("name", "ours", "baseline", "unit", "ratio", "goal")]
        made.add_row(*words, {True: "yes", False: "NO", None: ""}[row.get("holds")])
    return made


def _text(value: object) -> str:
    return "" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)


def main(arguments: list[str]) -> int:
    """Runs the named modules (all of them); 1 where a module failed."""
    # A pipe has no width: names are read whole there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    chosen = arguments or list(MODULES)
    if unknown := [name for name in chosen if name not in MODULES]:
        console.print(f"not a bench: {', '.join(unknown)}; there are {', '.join(MODULES)}")
        return os.EX_USAGE
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows: list[Row] = [row for row in kept if row.get("module") in MODULES and row["module"] not in chosen]
    began = time.monotonic()
    for number, module in enumerate(chosen, 1):
        following = f"; next {chosen[number]}" if number < len(chosen) else ""
        console.print(f"{number}/{len(chosen)} {module} ({time.monotonic() - began:.0f} s so far{following})")
        rows += run(module)
        rows.sort(key=lambda row: MODULES.index(row["module"]))
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    console.print(table(rows))
    return int(any("error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
