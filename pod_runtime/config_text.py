"""Configuration as text: the effective one as TOML, and the JSON Schema with which an editor completes and checks."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import tomli_w

from pod_runtime.config import SettingRule, effective, plain

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCALARS = {str: "string", Path: "string", int: "integer", float: "number", Decimal: "number", bool: "boolean"}
Schema = dict[str, Any]


def to_toml(config: Any) -> str:
    """Write the effective configuration, or its tree, as TOML; settings without a value are left out.

    TOML has no null (https://toml.io/en/v1.0.0), and an absent key reads back as the same.
    """
    return tomli_w.dumps(_without_none(effective(config) if is_dataclass(config) else config))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def schema(kind: type[Any], *, title: str) -> Schema:
    """Build the JSON Schema (draft 2020-12) of the TOML file that `pod_runtime.config.load` reads into a `kind`."""
    return {"$schema": DIALECT, "title": title, **_table(kind)}


def _table(kind: type[Any]) -> Schema:
    hints = typing.get_type_hints(kind)
    doc = (kind.__doc__ or "").strip()
    properties = {item.name: _property(hints[item.name], item) for item in fields(kind)}
    # As `load` decides it: a field with neither a default nor a factory. A section must be given if one of its
    # settings must; else it is made from defaults.
    required = [
        item.name
        for item in fields(kind)
        if item.default is MISSING and item.default_factory is MISSING
        if not is_dataclass(hints[item.name]) or "required" in properties[item.name]
    ]
    return {
        "type": "object",
        **({"description": doc.splitlines()[0]} if doc else {}),
        "properties": properties,
        # An editor marks a misspelt key, as `load` refuses it.
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _property(hint: Any, item: Field[Any]) -> Schema:
    found = _type(hint)
    rule: SettingRule | None = item.metadata.get("rule")
    if rule is not None:
        limits = {"minimum": rule.minimum, "maximum": rule.maximum, "enum": list(rule.choices) or None}
        found["description"] = rule.doc
        found.update({name: limit for name, limit in limits.items() if limit is not None})
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    if default is not MISSING and default is not None:
        found["default"] = json.loads(json.dumps(plain(default), default=float))  # Decimal to float
    return found


def _type(hint: Any) -> Schema:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        # Only `X | None` occurs, and TOML has no null: the key is left out instead.
        return _type(next(item for item in arguments if item is not type(None)))
    if is_dataclass(hint):
        return _table(typing.cast("type[Any]", hint))
    if origin is tuple:
        return {"type": "array", "items": _type(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1])}
    return {"type": _SCALARS[hint]}
