"""The shell blocks of the pages: `sh` ones are run as they stand, `console` ones show a session that needs more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for path in (ROOT / "docs").glob("**/*.md") if path.parent.name != "runbooks")
_BLOCK = re.compile(r"^( *)```(sh|console)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
NOT_RUN = {
    r"kubectl|make deploy": "needs a cluster",
    r"vault kv|k8s/vault/": "needs Vault's program and a server that the page did not start",
    r"make images|make scan|tools/images": "tests/deployment builds and looks at the images",
    r"docker compose": "needs a compose engine",
    r"make run\b": "what every other block is run beside",
    r"examples/python/trader": "tests/integration/api/test_client.py runs it",
    r"go run": "tests/contract/test_go_producer.py builds and runs it",
}
"""Reasons for which a `console` block is not run, by what occurs in it."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a page; `number` counts those of the page from 1."""

    page: str
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """Name of the block in a report."""
        return f"{self.page}-{self.number}"

    @property
    def reason(self) -> str | None:
        """Reason for which it is not run; None where nothing says so."""
        return next((reason for words, reason in NOT_RUN.items() if re.search(words, self.text)), None)


def blocks(language: str) -> list[Block]:
    """Every block of that language, in the order of the pages."""
    found = []
    for page in PAGES:
        name = str(page.relative_to(ROOT / "docs").with_suffix("")).replace("/", "-")
        for number, match in enumerate(_BLOCK.finditer(page.read_text(encoding="utf-8")), start=1):
            found.append(Block(name, number, match[2], match[3].replace("\n" + match[1], "\n").strip()))
    return [block for block in found if block.language == language]
