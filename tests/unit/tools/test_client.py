from __future__ import annotations

from typing import Any

import pytest

from tools.client import FOLDER, generated, models, operations, python_type


def described(*, body: dict[str, Any] | None = None, **schemas: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": "do_it",
        "summary": "Do it",
        "parameters": [
            {"name": "from", "in": "query", "schema": {"type": "boolean"}},
            {"name": "trade_id", "in": "path", "required": True, "schema": {"type": "string"}},
            {"name": "idempotency-key", "in": "header", "schema": {"type": "string"}},
            {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}},
        ],
        "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/It"}}}}},
    }
    if body:
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return {"paths": {"/v1/{trade_id}": {"post": operation}}, "components": {"schemas": schemas}}


def test_what_is_generated_is_what_the_api_says() -> None:
    stale = [name for name, text in generated().items() if (FOLDER / name).read_text() != text]
    assert stale == [], "run python -m tools.client"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "str"),
        ({"type": "string", "format": "decimal"}, "Decimal"),
        ({"type": "string", "format": "date-time"}, "datetime"),
        ({"anyOf": [{"anyOf": [{"type": "number"}, {"type": "string"}]}, {"type": "null"}]}, "Decimal | None"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#/components/schemas/Side"}]}, "Side | None"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/FillView"}}, "list[FillView]"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "dict[str, int]"),
        ({"type": "object", "additionalProperties": True}, "dict[str, Any]"),
        ({"enum": ["json", "csv"], "type": "string"}, "Literal['json', 'csv']"),
        ({"const": "a"}, "Literal['a']"),
        ({}, "Any"),
    ],
)
def test_each_construct_has_its_type(schema: dict[str, Any], expected: str) -> None:
    assert python_type(schema) == expected


def test_a_construct_that_is_not_known_ends_the_generator() -> None:
    with pytest.raises(ValueError, match="does not know the type 'file'"):
        python_type({"type": "file"})


def test_fields_that_may_be_left_out_are_unset_in_a_body_and_none_in_an_answer() -> None:
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]}
    text = models(described(body={"$ref": "#/components/schemas/Sent"}, Sent=schema, It=schema))
    assert "class Sent(RequestBody, frozen=True, kw_only=True):" in text
    assert "    a: str\n    b: int | UnsetType = UNSET" in text
    assert "class It(Answer, frozen=True, kw_only=True):" in text
    assert "    a: str\n    b: int | None = None" in text


def test_names_are_texts_in_an_answer_and_literal_in_a_body() -> None:
    schema = {"properties": {"a": {"enum": ["x", "y"], "type": "string"}}, "required": ["a"]}
    text = models(described(body={"$ref": "#/components/schemas/Sent"}, Sent=schema, It=schema))
    assert "    a: Literal['x', 'y']" in text
    assert "    a: str" in text


def test_a_field_with_a_keywords_name_keeps_it_on_the_wire() -> None:
    text = models(described(It={"properties": {"from": {"type": "string"}}, "required": ["from"]}))
    assert "    from_: str = msgspec.field(name='from')" in text


def test_a_keyed_operation_sends_a_key_and_its_parameters_by_their_own_names() -> None:
    text = operations(described(It={}))
    assert "from_: bool | None = None, idempotency_key: str | None = None" in text
    assert 'f"/v1/{segment(trade_id)}"' in text
    assert "query={'from': from_}" in text
    assert "idempotency_key=idempotency_key or self._key_for(None)" in text
    assert "last_event_id" not in text
