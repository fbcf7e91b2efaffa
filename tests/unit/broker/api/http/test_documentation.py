from __future__ import annotations

from typing import Any

from openapi_spec_validator import validate

from broker.api.schemas.events import KINDS
from tests.unit.broker.api.conftest import Client


async def test_openapi_document_is_valid_and_says_enough_for_a_generated_client(api: Client) -> None:
    document = (await api("GET", "/openapi.json", key=None)).json()
    validate(document)
    operations = [item for path in document["paths"].values() for item in path.values()]
    ids = [item["operationId"] for item in operations]

    assert len(ids) == len(set(ids))
    assert all(item.get("summary") and item.get("description") for item in operations)
    assert all(item["security"] for item in operations)
    schemas = document["components"]["schemas"]
    assert schemas["OrderBody"]["examples"]
    assert schemas["OrderView"]["properties"]["units"]["type"] == "string"
    errors = [
        response["content"] for item in operations for status, response in item["responses"].items() if status >= "400"
    ]
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemView"}}}
    assert len(errors) > 50
    assert all(content == problem for content in errors)


async def test_documentation_page_needs_no_other_host(api: Client) -> None:
    page = await api("GET", "/docs", key=None)
    names = ("swagger-ui-bundle.js", "swagger-ui.css", "start.js", "favicon-32x32.png")
    assets: dict[str, Any] = {name: await api("GET", f"/docs/{name}", key=None) for name in names}

    assert page.status == 200
    assert b"http" not in page.content.replace(b"http-equiv", b"")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert {name: answer.status for name, answer in assets.items()} == dict.fromkeys(names, 200)
    assert (await api("GET", "/docs/..%2fapplication.py", key=None)).status == 404
    assert (await api("GET", "/docs/README.md", key=None)).status == 404


async def test_openapi_document_describes_every_event_of_the_stream(api: Client) -> None:
    document = (await api("GET", "/openapi.json", key=None)).json()
    stream = document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    schemas = document["components"]["schemas"]
    found = {name: schemas[item["$ref"].rpartition("/")[2]] for name, item in stream["x-events"].items()}

    assert set(found) == {*KINDS, "gap", "missed"}
    assert set(found["state"]["properties"]) == {"state", "actor", "reason"}
    assert set(found["transaction"]["properties"]) == {"id", "type", "instrument", "time", "transaction"}
