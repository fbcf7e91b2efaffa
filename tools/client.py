"""`python -m tools.client [--check]`: generates models and operations of `broker_client`, or says which are stale.

The source is the order API's own OpenAPI document. A construct that the generator does not know ends it with an
error: better than a client that is wrong.
"""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.reference.api import document

Schema = Mapping[str, Any]
FOLDER = Path(__file__).resolve().parents[1] / "broker_client"
RUFF = Path(sys.executable).with_name("ruff")
_LINE = 115
_HEAD = "Generated from the order API's OpenAPI document: change that, and run `python -m tools.client`."
_MODELS = '''"""Models of the order API.

{head}
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, Self

import msgspec
from msgspec import UNSET, UnsetType

__all__ = {names}


class OpenEnum(StrEnum):
    """Names of which a newer broker may have more: one that is not known here is taken as its text."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = value.upper()
        member._value_ = value
        return member


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A model of an answer. Fields that are not known here are left out."""


class RequestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model of a request. A field that is UNSET is not sent; None is sent as null."""

'''
_OPERATIONS = '''"""Operations of the order API, one method each.

{head}
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from broker_client import models
from broker_client.event_stream import StreamEvent
from broker_client.transport import Transport, segment


class Operations(Transport):
    """Each operation of the order API. All raise OrderApiError; see `broker_client.errors` for its subclasses.

    `account` is the id of an account, needed where the broker trades several. `idempotency_key` names the request: the
    same key is the same order, however often it is sent; the client makes one where there is none. `traceparent` is
    the caller's W3C trace context.
    """

'''
_FORMATS = {"decimal": "Decimal", "date-time": "datetime"}
_PLAIN = {"string": "str", "integer": "int", "number": "Decimal", "boolean": "bool", "null": "None"}
_JSON = "application/json"
_EVENTS = "text/event-stream"
_COMMON = frozenset({"account", "idempotency-key", "traceparent"})
"""Parameters of many operations: the class tells of them once."""


def python_type(schema: Schema, prefix: str = "") -> str:
    """The annotation of a value; `prefix` stands before the names of models. Raises ValueError for what is unknown."""
    if "$ref" in schema:
        return prefix + str(schema["$ref"]).rsplit("/", 1)[-1]
    if options := schema.get("anyOf") or schema.get("oneOf"):
        found = [python_type(option, prefix) for option in options]
        if "Decimal" in found:  # a number, or better its text, which is what is sent
            found = [name for name in found if name != "str"]
        return _union(*found)
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    return _type_of_kind(schema, prefix)


def _type_of_kind(schema: Schema, prefix: str) -> str:
    match schema.get("type"):
        case None:
            return "Any"
        case "array":
            return f"list[{python_type(schema.get('items', {}), prefix)}]"
        case "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {python_type(values, prefix) if isinstance(values, dict) else 'Any'}]"
        case str(kind) if kind in _PLAIN:
            return _FORMATS.get(schema.get("format", ""), _PLAIN[kind])
        case kind:
            raise ValueError(f"the generator does not know the type {kind!r}")


def _union(*kinds: str) -> str:
    """A union of annotations, each once, None at the end."""
    found = dict.fromkeys(name for kind in kinds for name in kind.split(" | "))
    return " | ".join(sorted(found, key=lambda name: name == "None"))


def models(described: Schema) -> str:
    """Source of the models."""
    schemas: dict[str, Schema] = described["components"]["schemas"]
    sent = set(_reachable(schemas, *_bodies(described)))
    parts = [_MODELS.format(head=_HEAD, names=["UNSET", *sorted(schemas)])]
    # Structs that others have as fields may come later in the file: annotations are read when they are needed.
    for name, schema in sorted(schemas.items(), key=lambda item: "enum" not in item[1]):
        parts.append("\n".join(_enum(name, schema) if "enum" in schema else _struct(name, schema, name in sent)))
    return "\n\n".join(parts) + "\n"


def operations(described: Schema) -> str:
    """Source of the operations."""
    parts = [_OPERATIONS.format(head=_HEAD)]
    for path, item in described["paths"].items():
        for method, operation in item.items():
            parts.append("\n".join(_method(method.upper(), path, operation)) + "\n")
    return "\n".join(parts)


def _bodies(described: Schema) -> Iterator[Any]:
    for item in described["paths"].values():
        for operation in item.values():
            yield operation.get("requestBody", {})


def _reachable(schemas: Mapping[str, Schema], *places: Any) -> Iterator[str]:
    """Names of the models that the schemas at `places` refer to, directly or not."""
    seen: set[str] = set()
    left = list(places)
    while left:
        match left.pop():
            case {"$ref": str(path)}:
                name = path.rsplit("/", 1)[-1]
                if name not in seen:
                    seen.add(name)
                    yield name
                    left.append(schemas[name])
            case dict(item):
                left.extend(item.values())
            case list(items):
                left.extend(items)


def _words(text: str, indent: str) -> Iterator[str]:
    """A docstring's lines."""
    first, *rest = (text.strip().replace("\\", "\\\\") or "Without a description.").split("\n\n")
    lines = [
        line for part in [first, *rest] for line in [*textwrap.wrap(" ".join(part.split()), _LINE - len(indent)), ""]
    ]
    lines = lines[:-1]
    if len(lines) == 1:
        yield f'{indent}"""{lines[0]}"""'
        return
    yield f'{indent}"""{lines[0]}'
    yield from (indent + line if line else "" for line in lines[1:])
    yield f'{indent}"""'


def _enum(name: str, schema: Schema) -> Iterator[str]:
    yield f"class {name}(OpenEnum):"
    yield from _words(schema.get("description", f"Values of {name}."), "    ")
    yield ""
    for value in schema["enum"]:
        yield f"    {value.upper()} = {value!r}"


def _struct(name: str, schema: Schema, is_sent: bool) -> Iterator[str]:
    yield f"class {name}({'RequestBody' if is_sent else 'Answer'}, frozen=True, kw_only=True):"
    yield from _words(schema.get("description", "").split("\n\n")[0], "    ")
    yield ""
    required = set(schema.get("required", ()))
    for key, item in schema.get("properties", {}).items():
        # Names in an answer stay texts: a newer broker may have more of them.
        kind, names = python_type(item) if is_sent else re.sub(r"Literal\[[^]]*]", "str", python_type(item)), key
        default = ""
        if is_sent:
            if key not in required:
                kind, default = _union(kind, "UnsetType"), " = UNSET"
        elif key not in required or "None" in kind.split(" | "):
            # An older broker may not have the field yet.
            kind, default = _union(kind, "None"), " = None"
        if keyword.iskeyword(key):
            names = key + "_"
            default = f" = msgspec.field(name={key!r}{', default=' + default.removeprefix(' = ') if default else ''})"
        yield f"    {names}: {kind}{default}"
        if text := item.get("description"):
            yield from _words(text, "    ")


def _method(method: str, path: str, operation: Schema) -> Iterator[str]:
    """Lines of the method of an operation."""
    content = _content(operation)
    is_stream = _EVENTS in content
    parameters = [item for item in operation.get("parameters", ()) if _is_taken(item, operation)]
    is_keyed = any(item["name"].lower() == "idempotency-key" for item in parameters)
    body = operation.get("requestBody")
    signature = ["self"]
    required = [item for item in parameters if item.get("required")]
    signature += [f"{_name(item)}: {python_type(item['schema'], 'models.')}" for item in required]
    if body:
        kind = python_type(body["content"][_JSON]["schema"], "models.").removesuffix(" | None")
        signature.append(f"body: {kind}" if body.get("required") else f"body: {kind} | None = None")
    if optional := [item for item in parameters if not item.get("required")]:
        signature.append("*")
        kinds = [(item, python_type(item["schema"], "models.").removesuffix(" | None")) for item in optional]
        signature += [f"{_name(item)}: {kind} | None = None" for item, kind in kinds]
    answer = "AbstractAsyncContextManager[AsyncGenerator[StreamEvent, None]]" if is_stream else _answer(content)
    yield f"    {'' if is_stream else 'async '}def {operation['operationId']}({', '.join(signature)}) -> {answer}:"
    yield from _words(_told(operation, parameters), "        ")
    address = path.replace("{", "{segment(").replace("}", ")}")
    place = f'f"{address}"' if "{" in path else f'"{path}"'
    query = [f"{item['name']!r}: {_value(item)}" for item in parameters if item["in"] == "query"]
    if is_stream:
        yield f"        return self._stream({place}, {{{', '.join(query)}}})"
        return
    arguments = [repr(method), place, answer]
    if query:
        arguments.append(f"query={{{', '.join(query)}}}")
    headers = [item for item in parameters if item["in"] == "header" and item["name"].lower() != "idempotency-key"]
    if headers:
        texts = [f"{item['name']!r}: {_name(item)}" for item in headers]
        arguments.append(f"headers={{{', '.join(texts)}}}")
    if body:
        arguments.append("body=body")
    if is_keyed:
        arguments.append(f"idempotency_key=idempotency_key or self._key_for({'body' if body else 'None'})")
    yield f"        return await self._ask({', '.join(arguments)})"


def _is_taken(parameter: Schema, operation: Schema) -> bool:
    # The client reads JSON, and goes on in a stream by itself.
    if parameter["name"].lower() == "last-event-id":
        return False
    return parameter["name"] != "format" or len(_content(operation)) < 2  # noqa: PLR2004 - nothing to choose from


def _content(operation: Schema) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            found |= response.get("content", {})
    return found


def _answer(content: Mapping[str, Schema]) -> str:
    return python_type(content.get(_JSON, {}).get("schema", {}), "models.")


def _name(parameter: Schema) -> str:
    name = str(parameter["name"]).replace("-", "_").lower()
    return name + "_" if keyword.iskeyword(name) else name


def _value(parameter: Schema) -> str:
    # An account that the call does not name is that of the client.
    return "account or self.account" if parameter["name"] == "account" else _name(parameter)


def _told(operation: Schema, parameters: list[Schema]) -> str:
    parts = [operation["summary"] + ".", operation.get("description", "")]
    told = [item for item in parameters if item.get("description") and item["name"].lower() not in _COMMON]
    parts += [f"`{_name(item)}`: {item['description']}" for item in told]
    return "\n\n".join(filter(None, parts))


def _formatted(text: str) -> str:
    """The source as the project's own linter lays it out, without the imports that it does not need."""
    for options in (("check", "--fix-only", "--quiet", "--select", "F401,I001"), ("format", "--quiet")):
        command = [RUFF, *options, "--stdin-filename", FOLDER / "generated.py", "-"]
        text = str(subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout)  # noqa: S603
    return text


def generated() -> dict[str, str]:
    """Each generated file of the client, with its text."""
    described = document()
    return {"models.py": _formatted(models(described)), "operations.py": _formatted(operations(described))}


def main(arguments: list[str]) -> int:
    """0, or with `--check` 1 where a file is stale."""
    found = generated()
    if arguments != ["--check"]:
        for name, text in found.items():
            (FOLDER / name).write_text(text, encoding="utf-8")
        return 0
    stale = [name for name, text in found.items() if (FOLDER / name).read_text(encoding="utf-8") != text]
    for name in stale:
        sys.stderr.write(f"broker_client/{name} differs from the API: run python -m tools.client\n")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
