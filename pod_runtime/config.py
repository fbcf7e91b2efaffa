"""Configuration: one TOML file, overridden by the environment, read into frozen dataclasses.

A section is a frozen dataclass whose fields are made by `setting`. Every fault of a configuration is found before any
is reported, each with the key, the fault and the remedy. A key of the environment is PREFIX__SECTION__KEY, case
ignored. Three sources lie over each other, the first that has a key wins: environment, file, and `beneath` for what
standard variables such as VAULT_ADDR say; the defaults of the dataclass are last.

Texts of the environment become the type that their setting wants; values of the file must have it already, so that
`port = "80"` is a fault there. No fault repeats a value that has the wrong type: it may be a secret that was put in
the wrong place. Not pydantic-settings, which takes 7 MiB of memory; and not msgspec, which the producer library,
whose settings these are too, should not make its users install.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

C = TypeVar("C")
Tree = dict[str, Any]


class ConfigError(Exception):
    """A configuration has faults; `faults` lists all of them, one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRule:
    """Meaning of a setting, with its unit, and the limits that its value must keep."""

    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


def setting(
    default: Any = MISSING,
    *,
    doc: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare a field of a section. Without a default it is required."""
    rule = SettingRule(doc=doc, minimum=minimum, maximum=maximum, choices=choices)
    # Every section gets a copy of its own: dataclasses refuse a list or a dict as a default for that reason.
    if isinstance(default, (list, dict)):
        return field(default_factory=default.copy, metadata={"rule": rule})
    return field(default=default, metadata={"rule": rule})


def load(
    kind: type[C],
    *,
    path: Path | None,
    environ: Mapping[str, str],
    prefix: str,
    beneath: Mapping[str, Mapping[str, Any]] = types.MappingProxyType({}),
) -> C:
    """Read `path` (if any) and the `PREFIX__…` variables of `environ` into a `kind`, or raise `ConfigError`.

    `beneath` holds settings by section, for keys that neither of the two has.
    """
    tree, faults = _read_toml(path)
    _overlay(tree, environ, prefix)
    for section, values in beneath.items():
        if isinstance(above := tree.get(section, {}), dict):
            tree[section] = {**values, **above}
    value = _section(kind, tree, "", faults)
    if faults:
        raise ConfigError(faults)
    return typing.cast("C", value)


def _read_toml(path: Path | None) -> tuple[Tree, list[str]]:
    if path is None:
        return {}, []
    try:
        # Decimal keeps an amount to its last digit; a setting that is a float converts it.
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal), []
    except OSError as error:
        return {}, [f"{path}: cannot be read ({error.strerror}); give a file that exists"]
    except ValueError as error:
        return {}, [f"{path}: is not TOML: {error}"]


def open_file_warning(path: Path | None) -> str | None:
    """Return a warning if every user of the machine may write to the configuration's file."""
    if path is None or not (mode := path.stat().st_mode) & 0o002:
        return None
    return f"{path}: every user may write to it (mode {mode & 0o7777:04o}); chmod o-w"


def _overlay(tree: Tree, environ: Mapping[str, str], prefix: str) -> None:
    start = prefix + "__"
    # Sorted, so that PREFIX__A before PREFIX__A__B gives the same result on every machine.
    for name in sorted(name for name in environ if name.upper().startswith(start)):
        *sections, key = name[len(start) :].lower().split("__")
        place = tree
        for section in sections:
            # A variable of a section goes before a plain value of that name in the file.
            if not isinstance(place.get(section), dict):
                place[section] = {}
            place = place[section]
        place[key] = _Text(environ[name])


class _Text(str):
    """Text of the environment, still to be converted."""

    __slots__ = ()


def _section(kind: type[Any], tree: Tree, where: str, faults: list[str]) -> Any:
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in fields(kind)}
    for key in (key for key in tree if key not in known):
        near = difflib.get_close_matches(key, known, n=1)
        faults.append(f"{where}{key}: is not a setting" + (f"; did you mean {near[0]!r}?" if near else ""))
    values: Tree = {}
    # A section is made only if all of its settings are sound: its own checks may rely on their types.
    before = len(faults)
    for name, item in known.items():
        open_ = item.default is MISSING and item.default_factory is MISSING
        # A section that is absent is made from its own defaults, unless the field has a default for the whole.
        if name in tree or (open_ and is_dataclass(hints[name])):
            raw = tree.get(name, {})
            values[name] = _value(hints[name], raw, where + name, item.metadata.get("rule"), faults)
        elif open_:
            faults.append(f"{where}{name}: is required ({item.metadata['rule'].doc})")
    if len(faults) > before:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        faults.append(f"{where.rstrip('.') or 'configuration'}: {error}")
        return None


def _value(hint: Any, raw: Any, where: str, rule: SettingRule | None, faults: list[str]) -> Any:
    try:
        value = _convert(hint, raw, where, faults)
    except (TypeError, ValueError) as error:
        faults.append(f"{where}: {error}")
        return None
    if rule is not None:
        faults.extend(f"{where}: {fault}" for fault in _broken(rule, value))
    return value


def _broken(rule: SettingRule, value: Any) -> Iterator[str]:
    if rule.choices and value not in rule.choices:
        yield f"must be one of {', '.join(rule.choices)}"
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        if rule.minimum is not None and value < rule.minimum:
            yield f"must be at least {rule.minimum}, is {value}"
        if rule.maximum is not None and value > rule.maximum:
            yield f"must be at most {rule.maximum}, is {value}"


def _convert(hint: Any, raw: Any, where: str, faults: list[str]) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        inner = next(item for item in arguments if item is not type(None))
        # An environment cannot hold "nothing": an empty variable is it.
        return None if isinstance(raw, _Text) and not raw else _convert(inner, raw, where, faults)
    if is_dataclass(hint):
        return _section(typing.cast("type[Any]", hint), _checked(dict, raw), where + ".", faults)
    if origin is tuple:
        if isinstance(raw, _Text):
            raw = [_Text(item.strip()) for item in raw.split(",") if item.strip()]
        array = enumerate(_checked(list, raw))
        return tuple(_value(arguments[0], item, f"{where}[{index}]", None, faults) for index, item in array)
    if origin is dict:
        table = _checked(dict, raw).items()
        return {key: _value(arguments[1], item, f"{where}.{key}", None, faults) for key, item in table}
    return _scalar(hint, raw)


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _checked(hint: type[C], raw: Any) -> C:
    # `True` is an int to Python, and no whole number to the person who wrote it.
    if not isinstance(raw, hint) or (hint is int and isinstance(raw, bool)):
        raise TypeError(f"must be {_WORDS.get(hint, hint.__name__)}, is {_shape(raw)}")
    return raw


def _scalar(hint: Any, raw: Any) -> Any:
    if isinstance(raw, _Text):
        value = _from_text(hint, str(raw))
        # Decimal itself also takes exponents, underscores, and the digits of other scripts.
        if hint is Decimal and _DIGITS.fullmatch(raw) is None:
            raise TypeError("must be a number in digits, with at most one point")
        return value
    if hint is Path and isinstance(raw, str):
        return Path(raw)
    if hint in _NUMBERS and isinstance(raw, (int, float, Decimal)) and not isinstance(raw, bool):
        return _from_text(hint, str(raw))
    return _checked(hint, raw)


def _from_text(hint: Any, text: str) -> Any:
    if hint is bool:
        if text.lower() not in _BOOLEANS:
            raise TypeError("must be true or false")
        return _BOOLEANS[text.lower()]
    # The messages of `int` and `float` repeat the text, which may be a secret; so they are replaced.
    try:
        value = hint(text)
        is_finite = hint not in _NUMBERS or math.isfinite(value)
    except (ValueError, InvalidOperation) as error:
        raise TypeError(f"must be {_WORDS.get(hint, hint.__name__)}, is a text of {len(text)} characters") from error
    if not is_finite:
        raise TypeError("must be a finite number")
    return value


_DIGITS = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)")
_NUMBERS = (float, Decimal)
_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    Decimal: "a number",
    bool: "true or false",
    Path: "a path",
    dict: "a table",
    list: "an array",
}


def _shape(raw: Any) -> str:
    """Describe a value without repeating it."""
    if isinstance(raw, str):
        return f"a text of {len(raw)} characters"
    if isinstance(raw, (list, dict)):
        return f"{_WORDS[type(raw)]} of {len(raw)}"
    return {**_WORDS, bool: "a boolean"}.get(type(raw), type(raw).__name__)


def effective(config: Any) -> Tree:
    """Return the configuration as a tree of plain values, defaults included."""
    return {item.name: plain(getattr(config, item.name)) for item in fields(config)}


def plain(value: Any) -> Any:
    """Convert a setting's value to the types of TOML and JSON."""
    if is_dataclass(value):
        return effective(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value
