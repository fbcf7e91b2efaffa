"""Secrets as files."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.secrets.errors import RenderError
from sidecar.secrets.publish.render import render
from sidecar.secrets.settings import FileSettings

DATA = {"token": "s3cr3t", "port": 5432, "hosts": ["a", "b"]}


def file(**values: Any) -> FileSettings:
    return FileSettings(name="file", **values)


def test_json_has_all_fields_or_the_chosen_ones() -> None:
    assert json.loads(render(file(), DATA)) == DATA
    assert json.loads(render(file(keys=("port",)), DATA)) == {"port": 5432}


def test_raw_is_the_field_itself() -> None:
    assert render(file(format="raw", key="token"), DATA) == b"s3cr3t"
    assert render(file(format="raw", key="hosts"), DATA) == b'["a", "b"]'


def test_dotenv_quotes() -> None:
    data = {"A": "plain", "B": "it's $5", "C": 7}
    assert render(file(format="dotenv"), data) == b"A='plain'\nB=\"it's \\$5\"\nC='7'\n"


@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_a_shell_reads_dotenv_back(value: str) -> None:
    text = render(file(format="dotenv"), {"VALUE": value}).decode()
    shell = subprocess.run(
        ["sh", "-c", text + 'printf %s "$VALUE"'], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert shell.stdout == value.encode()


def test_jinja2_renders_fields() -> None:
    assert render(file(format="jinja2", template="{{ token }}:{{ port + 1 }}\n"), DATA) == b"s3cr3t:5433\n"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (file(keys=("token", "user")), "the secret has no field 'user'"),
        (file(format="raw", key="user"), "the secret has no field 'user'"),
        (file(format="jinja2", template="{{ user }}"), "the secret has no field 'user'"),
        (file(format="jinja2", template="{{ token.user }}"), "the template uses something undefined"),
        (file(format="jinja2", template="{% if %}"), "template line 1 is not Jinja2"),
        (file(format="jinja2", template="{{ token / 2 }}"), r"the template failed \(TypeError\)"),
        (file(format="jinja2", template="{{ token.__class__.__mro__ }}"), "the template failed|undefined"),
        (file(format="dotenv"), "field 'hosts' has parts"),
    ],
)
def test_what_cannot_be_made_is_named_without_its_value(settings: FileSettings, message: str) -> None:
    with pytest.raises(RenderError, match=message) as raised:
        render(settings, DATA)
    assert "s3cr3t" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_field_that_is_no_variable_is_refused() -> None:
    with pytest.raises(RenderError, match="'a-b' is no name for a variable"):
        render(file(format="dotenv"), {"a-b": "1"})


@pytest.mark.parametrize(
    "settings",
    [
        file(),
        file(format="raw", key="hosts"),
        file(format="dotenv", keys=("token",)),
        file(format="jinja2", template="{{ token * 3 }}"),
        file(format="jinja2", template="{% for n in range(9) %}{{ n }}{% endfor %}"),
    ],
)
def test_a_file_is_as_large_as_the_limit_at_most(settings: FileSettings) -> None:
    size = len(render(settings, DATA))
    assert len(render(settings, DATA, limit=size)) == size
    with pytest.raises(RenderError, match=r"file 'file': .* more than secrets\.max_secret_bytes"):
        render(settings, DATA, limit=size - 1)


def test_a_template_ends_at_the_limit_and_not_when_all_is_made() -> None:
    made: list[str] = []

    def make() -> str:
        made.append("x")
        return "x"

    with pytest.raises(RenderError, match="max_secret_bytes"):
        render(
            file(format="jinja2", template="{% for n in range(1000) %}{{ make() }}{% endfor %}"),
            {"make": make},
            limit=10,
        )
    assert len(made) == 11


def test_a_template_writes_the_words_of_json() -> None:
    file = FileSettings(name="f", format="jinja2", template="{{ a }} {{ b }} {{ c }} {{ 'yes' if b else 'no' }}")
    assert render(file, {"a": None, "b": True, "c": "None"}) == b"null true None yes"
