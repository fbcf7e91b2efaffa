"""`python -m tools.reference [--check]`: writes the reference pages, or says which are not as the code is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.reference import api, compatibility, conditions, configuration, exit_codes, process_metrics, sidecar_metrics

FOLDER = Path(__file__).resolve().parents[2] / "docs"
PAGES: Mapping[str, Callable[[], str]] = {
    "reference/configuration.md": configuration.page,
    "reference/api.md": api.page,
    "reference/sidecar-metrics.md": sidecar_metrics.page,
    "reference/process-metrics.md": process_metrics.page,
    "reference/conditions.md": conditions.page,
    "reference/exit-codes.md": exit_codes.page,
    "compatibility.md": compatibility.page,
}


def stale(folder: Path) -> list[str]:
    """Pages that differ from what the code says now."""
    return [name for name, make in PAGES.items() if _text(folder / name) != make()]


def write(folder: Path) -> None:
    """Writes every page."""
    for name, make in PAGES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(make(), encoding="utf-8")


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(arguments: list[str]) -> int:
    """0, or with `--check` 1 where a page is stale."""
    if arguments != ["--check"]:
        write(FOLDER)
        return 0
    found = stale(FOLDER)
    for name in found:
        sys.stderr.write(f"docs/{name} differs from the code: run python -m tools.reference\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
