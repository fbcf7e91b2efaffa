"""The diagnostics bundle: one zip file to attach to a question, without a secret in it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_SECRET_TABLES = ("headers", "parameters")
"""Tables whose values a person may have put a secret into."""


def redacted(tree: Any) -> Any:
    """A configuration without the values that may be secret; their names stay."""
    if isinstance(tree, Mapping):
        return {
            key: dict.fromkeys(value, HIDDEN)
            if key in _SECRET_TABLES and isinstance(value, Mapping)
            else redacted(value)
            for key, value in tree.items()
        }
    return [redacted(item) for item in tree] if isinstance(tree, list) else tree


def zipped(files: Mapping[str, str]) -> bytes:
    """Text files as a zip archive."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return target.getvalue()


def json_text(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n"
