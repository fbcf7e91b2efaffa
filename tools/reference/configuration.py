"""Settings of both processes, from the rules that read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from broker.config import BrokerConfig
from pod_runtime.config_text import Schema, schema
from sidecar.config import SidecarConfig
from tools.reference.markdown import code, made, table

HEAD = """# Configuration

{made}
Each process reads one TOML file (`--config`, or `BROKER_CONFIG` and `SIDECAR_CONFIG`). A variable
`BROKER__SECTION__KEY` or `SIDECAR__SECTION__KEY` overrides a setting; lists are separated by commas. The sidecar also
reads `VAULT_ADDR`, `VAULT_CACERT`, `VAULT_NAMESPACE` and the standard `OTEL_*` variables, which fill what is then
still open. `VAULT_TOKEN` is ignored.

`--check-config` prints every fault at once, or the effective configuration; `--config-schema` prints the JSON Schema.
"""
LONGEST_DEFAULT = 200
"""Characters beyond which a default does not fit into a cell of the table."""


def page() -> str:
    """Write the page."""
    return "\n".join(
        (
            HEAD.format(made=made("the settings' own rules")),
            *_process("Broker", BrokerConfig),
            *_process("Sidecar", SidecarConfig),
        )
    )


def _process(title: str, kind: type[Any]) -> Iterator[str]:
    yield f"## {title}\n"
    for name, section in schema(kind, title=title)["properties"].items():
        yield from _section(name, section, title)


def _section(name: str, section: Schema, title: str) -> Iterator[str]:
    yield f"### {title}: `[{name}]`\n"
    yield _sentence(section.get("description", ""))
    required = set(section.get("required", ()))
    plain = {key: item for key, item in section["properties"].items() if not _nested(item)}
    yield table(
        ("setting", "type", "default", "meaning"),
        [
            (code(key), _type(item), _default(key, item, required), item.get("description", ""))
            for key, item in plain.items()
        ],
    )
    for key, item in section["properties"].items():
        if inner := _nested(item):
            yield from _section(f"{name}.{key}", {"description": item.get("description", ""), **inner}, title)


def _sentence(text: str) -> str:
    # Not `str.capitalize`: it makes every other letter small ("The order api").
    return f"{text[:1].upper()}{text[1:].rstrip('.')}.\n"


def _nested(item: Schema) -> Schema | None:
    """Return the table that a setting holds: alone, in an array, or under names that the user chooses."""
    for inner in (item, item.get("items"), item.get("additionalProperties")):
        if isinstance(inner, dict) and "properties" in inner:
            return inner
    return None


def _type(item: Schema) -> str:
    kind = str(item["type"])
    words = {"array": f"array of {item.get('items', {}).get('type', '')}s", "object": "table"}.get(kind, kind)
    limits = [
        f"at least {item['minimum']:g}" if "minimum" in item else "",
        f"at most {item['maximum']:g}" if "maximum" in item else "",
        "one of " + ", ".join(map(code, item["enum"])) if "enum" in item else "",
    ]
    return ", ".join([words, *filter(None, limits)])


def _default(key: str, item: Schema, required: set[str]) -> str:
    if key in required:
        return "required"
    if "default" not in item:
        return "none"
    text = json.dumps(item["default"])
    return code(text) if len(text) < LONGEST_DEFAULT else "see `--check-config`"
