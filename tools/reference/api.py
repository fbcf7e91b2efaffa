"""The order API, from its OpenAPI document."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, cast

from broker.api.application import build_application
from broker.api.context import ApiContext
from broker.api.settings import ApiSettings
from broker.domain import TimeInForce
from broker.venue.v20.order_requests import FIELDS, LEG_FIELDS, TIMES
from tools.reference.markdown import code, made, table

Document = dict[str, Any]
HEAD = """# Order API

{made}
The same as OpenAPI 3.1 is at `/openapi.json` of a running broker, with a page at `/docs`. How to use it, and what
each status means: [The order API](../order-api.md).

## Operations
"""


def page() -> str:
    """The page."""
    described = document()
    operations = [
        (method.upper(), path, operation)
        for path, item in described["paths"].items()
        for method, operation in item.items()
    ]
    rows = [(code(f"{method} {path}"), _scope(found), found["summary"]) for method, path, found in operations]
    parts = [HEAD.format(made=made("the OpenAPI document")), table(("operation", "scope", "does"), rows)]
    for method, path, found in operations:
        parts.extend(_operation(method, path, found))
    parts.append(_fields())
    parts.append("## Bodies and answers\n")
    for name, model in described["components"]["schemas"].items():
        parts.extend(_model(name, model))
    return "\n".join(parts)


def _fields() -> str:
    orders = [
        (
            code(kind),
            _names(FIELDS[kind] - {"time_in_force"}),
            ", ".join(code(item) for item in TimeInForce if item in times),
        )
        for kind, times in TIMES.items()
    ]
    legs = [
        (f"attached {code(name)}", _names(fields - {"time_in_force"}), ", ".join(map(code, ("gtc", "gtd", "gfd"))))
        for name, fields in LEG_FIELDS.items()
    ]
    words = "The fields that v20 has for each type; any other is refused with its name."
    return f"## Fields of each type of order\n\n{words}\n\n" + table(
        ("type, or attached order", "fields", "time_in_force"), [*orders, *legs]
    )


def _names(fields: frozenset[str]) -> str:
    return ", ".join(code(name) for name in sorted(fields))


def document() -> Document:
    """The OpenAPI document of the application itself."""
    context = types.SimpleNamespace(settings=ApiSettings())  # describing asks it for nothing
    return build_application(cast("ApiContext", context)).openapi()


def _scope(operation: Document) -> str:
    return ", ".join(
        sorted({scope for item in operation.get("security", ()) for scopes in item.values() for scope in scopes})
    )


def _operation(method: str, path: str, operation: Document) -> Iterator[str]:
    yield f"### {method} {path}\n"
    yield operation.get("description", operation["summary"] + ".") + "\n"
    if parameters := operation.get("parameters"):
        rows = [
            (
                code(item["name"]),
                item["in"],
                _words(item["schema"]),
                "yes" if item.get("required") else "",
                item.get("description", ""),
            )
            for item in parameters
        ]
        yield table(("parameter", "in", "type", "required", "meaning"), rows)
    if body := operation.get("requestBody"):
        yield f"Body: {_content(body)}.\n"
    yield table(
        ("status", "answer", "meaning"),
        [(status, _content(item), item["description"]) for status, item in sorted(operation["responses"].items())],
    )


def _content(item: Document) -> str:
    return ", ".join(
        f"{_words(found.get('schema', {}))} ({code(kind)})" for kind, found in item.get("content", {}).items()
    )


def _model(name: str, model: Document) -> Iterator[str]:
    yield f"### {name}\n"
    yield (model.get("description") or "").split("\n\n")[0] + "\n"
    if "enum" in model:
        yield ", ".join(map(code, model["enum"])) + "\n"
        return
    required = set(model.get("required", ()))
    rows = [
        (code(key), _words(item), "yes" if key in required else "", item.get("description", ""))
        for key, item in model["properties"].items()
    ]
    yield table(("field", "type", "always" if name.endswith("View") else "required", "meaning"), rows)


def _words(item: Document) -> str:
    if "$ref" in item:
        name = item["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if options := item.get("anyOf"):
        return " or ".join(_words(option) for option in options if option.get("type") != "null")
    if item.get("type") == "array":
        return f"array of {_words(item.get('items', {}))}"
    if "enum" in item:
        return " or ".join(map(code, item["enum"]))
    return str(item.get("type", "any")) + (f" ({item['format']})" if "format" in item else "")
