"""Requests made from our own OpenAPI document, good ones and broken ones, and answers held against it.

HOSTILE_BODIES (default 100) is how many; a long run sets 100000.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any, cast

import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from broker.api.application import build_application
from broker.api.context import ApiContext
from broker.api.settings import ApiSettings
from tests.unit.broker.api.conftest import Client
from tests.unit.broker.secret_volume import KEYS

COUNT = int(os.environ.get("HOSTILE_BODIES", "100"))
ENDLESS = "/v1/events"
"""Streams until its reader leaves; its queries are tried elsewhere."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def document() -> dict[str, Any]:
    context = SimpleNamespace(settings=ApiSettings(tls="off"))
    return build_application(cast("ApiContext", context)).openapi()


def cases() -> st.SearchStrategy[Case[Any]]:
    schema = schemathesis.openapi.from_dict(document())
    operations: list[Any] = [item.ok() for item in schema.get_all_operations() if isinstance(item, Ok)]
    strategies: list[st.SearchStrategy[Case[Any]]] = [
        item.as_strategy(mode) for item in operations if item.path != ENDLESS for mode in GenerationMode
    ]
    return st.one_of(*strategies)


async def send(api: Client, case: Case[Any], key: str | None) -> Response:
    prepared = requests.Request(**case.as_transport_kwargs(base_url="http://broker")).prepare()
    body = prepared.body or b""
    headers = {str(name).lower(): str(value) for name, value in prepared.headers.items()}
    if key is not None:
        headers.pop("authorization", None)
        headers["x-api-key"] = key
    answer = await api(
        case.method,
        prepared.path_url,
        key=None,
        headers=headers,
        raw=body.encode() if isinstance(body, str) else bytes(body),
    )
    found = {name: [value] for name, value in answer.headers.items()}
    return Response(answer.status, found, answer.content, prepared, 0.0, verify=False)


@settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases(), key=st.sampled_from([*KEYS.values(), None]))
async def test_every_answer_is_one_that_the_document_describes(api: Client, case: Case[Any], key: str | None) -> None:
    answer = await send(api, case, key)

    case.validate_response(answer, checks=CHECKS)
