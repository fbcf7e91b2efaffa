"""Rendering: the contents of files from a secret's fields. Pure: the caller reads templates and writes files."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from sidecar.secrets.errors import RenderError
from sidecar.secrets.settings import FileSettings

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def render(file: FileSettings, data: Mapping[str, Any], template: str = "", *, limit: int = sys.maxsize) -> bytes:
    """Render a file, with the text of its `template`, in at most `limit` bytes; else RenderError."""
    if file.format == "jinja2":
        content = _jinja2(file, data, template or file.template, limit).encode()
    else:
        content = {"json": _json, "raw": _raw, "dotenv": _dotenv}[file.format](file, data).encode()
    if len(content) > limit:
        raise _too_large(file)
    return content


def _too_large(file: FileSettings) -> RenderError:
    return RenderError(f"file {file.name!r}: the secret's files would have more than secrets.max_secret_bytes")


def _chosen(file: FileSettings, data: Mapping[str, Any]) -> Mapping[str, Any]:
    if not file.keys:
        return data
    if absent := [key for key in file.keys if key not in data]:
        raise RenderError(f"file {file.name!r}: the secret has no field {', '.join(map(repr, absent))}")
    return {key: data[key] for key in file.keys}


def _json(file: FileSettings, data: Mapping[str, Any]) -> str:
    return json.dumps(_chosen(file, data), ensure_ascii=False, sort_keys=True) + "\n"


def _raw(file: FileSettings, data: Mapping[str, Any]) -> str:
    if file.key not in data:
        raise RenderError(f"file {file.name!r}: the secret has no field {file.key!r}")
    value = data[file.key]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _dotenv(file: FileSettings, data: Mapping[str, Any]) -> str:
    """Single quotes keep everything literal in shells and in dotenv readers, except themselves."""
    lines = []
    for key, value in sorted(_chosen(file, data).items()):
        if not _NAME.match(key):
            raise RenderError(f"file {file.name!r}: {key!r} is no name for a variable")
        if isinstance(value, (dict, list)):
            raise RenderError(f"file {file.name!r}: field {key!r} has parts; a variable cannot")
        text = value if isinstance(value, str) else json.dumps(value)
        lines.append(f"{key}={_quoted(file, key, text)}\n")
    return "".join(lines)


def _quoted(file: FileSettings, key: str, text: str) -> str:
    if "\0" in text:
        raise RenderError(f"file {file.name!r}: field {key!r} has a null byte; a variable cannot")
    if "'" not in text:
        return f"'{text}'"
    escaped = re.sub(r'(["\\$`])', r"\\\1", text)
    return f'"{escaped}"'


def _json_word(value: Any) -> Any:
    """Return null, true and false as the other formats write them."""
    return json.dumps(value) if value is None or isinstance(value, bool) else value


def _jinja2(file: FileSettings, data: Mapping[str, Any], template: str, limit: int) -> str:
    import jinja2  # noqa: PLC0415 - only where a template is used
    from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415 - see above

    environment = SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False, finalize=_json_word
    )
    try:
        parts, size = [], 0
        # Piece by piece: a loop ends at the limit, and not when the memory does.
        for part in environment.from_string(template).generate(data):
            parts.append(part)
            if (size := size + len(part)) > limit:
                break
        return "".join(parts)
    except jinja2.UndefinedError as error:
        raise RenderError(f"file {file.name!r}: {_name_of(error)}") from None
    except jinja2.TemplateSyntaxError as error:
        raise RenderError(f"file {file.name!r}: template line {error.lineno} is not Jinja2") from None
    except Exception as error:  # noqa: BLE001 - a template runs code; its errors may repeat a value
        raise RenderError(f"file {file.name!r}: the template failed ({type(error).__name__})") from None


def _name_of(error: Exception) -> str:
    """StrictUndefined's texts quote names; an attribute's owner could be a value, so only plain names pass."""
    found = re.fullmatch(r"'(\w+)' is undefined", str(error))
    return f"the secret has no field {found[1]!r}" if found else "the template uses something undefined"
