"""Manifest of a published generation, `manifest.json`: the secrets that it is made of, without their values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

VERSION = 1
NO_MANIFEST = (ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """A secret of a generation. `expires_at` is as known at publication: a renewal makes no new generation."""

    source: str
    version: str
    expires_at: str | None
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Number and time of a generation, and its secrets by name."""

    generation: int
    published_at: str
    secrets: Mapping[str, ManifestEntry] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        """Return it as JSON values; a version that is a number is one there, too."""
        tree = {"version": VERSION, **asdict(self)}
        for entry in tree["secrets"].values():
            entry["version"] = int(entry["version"]) if entry["version"].isdigit() else entry["version"] or None
        return tree

    @staticmethod
    def parse(data: bytes) -> Manifest:
        """Parse `manifest.json`; raises one of `NO_MANIFEST` if it is none, or of another version."""
        tree = json.loads(data)
        if tree["version"] != VERSION:
            raise ValueError(f"manifest of version {tree['version']}")
        entries = {
            name: ManifestEntry(
                source=item["source"],
                version="" if item["version"] is None else str(item["version"]),
                expires_at=_moment(item["expires_at"]),
                files=tuple(str(file) for file in item["files"]),
            )
            for name, item in tree["secrets"].items()
        }
        published_at = _moment(str(tree["published_at"])) or ""
        return Manifest(generation=int(tree["generation"]), published_at=published_at, secrets=entries)


def _moment(text: str | None) -> str | None:
    if text is not None:
        datetime.fromisoformat(text)
    return text
