from __future__ import annotations

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from pod_runtime.config import effective, setting
from pod_runtime.config_text import schema, to_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One of several."""

    name: str = setting(doc="its name")
    labels: dict[str, str] = setting({}, doc="labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section.

    More of it.
    """

    port: int = setting(8080, doc="where it listens", minimum=1, maximum=65535)
    mode: str = setting("off", doc="how", choices=("off", "on"))
    file: Path | None = setting(None, doc="a file")
    items: tuple[Item, ...] = setting((Item(name="first"),), doc="several")
    amount: Decimal = setting(Decimal("0.05"), doc="how much")
    rate: float = setting(0.5, doc="a share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    section: Section = setting(doc="a section")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needy:
    item: Item = setting(doc="must be given")


SCHEMA = schema(Config, title="example")


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_a_setting_has_its_type_meaning_bounds_and_default() -> None:
    properties = SCHEMA["properties"]["section"]["properties"]
    assert properties["port"] == {
        "type": "integer",
        "description": "where it listens",
        "minimum": 1,
        "maximum": 65535,
        "default": 8080,
    }
    assert properties["mode"]["enum"] == ["off", "on"]
    assert properties["file"] == {"type": "string", "description": "a file"}
    assert properties["amount"] == {"type": "number", "description": "how much", "default": 0.05}
    assert properties["items"]["default"] == [{"name": "first", "labels": {}}]


def test_the_effective_configuration_is_valid_and_reads_back() -> None:
    config = Config(section=Section())
    text = tomllib.loads(to_toml(config))
    Draft202012Validator(SCHEMA).validate(text)
    assert "file" not in text["section"]
    assert text["section"]["amount"] == 0.05
    assert text["section"]["rate"] == effective(config)["section"]["rate"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"section": {"prot": 1}},
        {"section": {"port": 0}},
        {"section": {"mode": "maybe"}},
        {"section": {"items": [{"labels": {}}]}},
    ],
)
def test_the_schema_refuses_what_load_refuses(wrong: dict[str, object]) -> None:
    assert not Draft202012Validator(SCHEMA).is_valid(wrong)


def test_a_section_with_a_required_setting_is_required() -> None:
    assert schema(Needy, title="needy")["required"] == ["item"]
    assert "required" not in SCHEMA
