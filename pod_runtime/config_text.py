"""A configuration as text: the effective one, defaults included, in the form that it is read from."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

import tomli_w

from pod_runtime.config import effective


def to_toml(config: Any) -> str:
    """The effective configuration (or its tree) as TOML. A setting that is not set is left out: TOML has no null."""
    return tomli_w.dumps(_without_none(effective(config) if is_dataclass(config) else config))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
