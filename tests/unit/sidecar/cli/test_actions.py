from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.cli import actions, view
from tests.unit.sidecar.console.sidecar_state import document

EVENT = {"time": "t", "producer": "p", "name": "a.b", "severity": 9, "attributes": {"x": 1}}
Console = Callable[[Any], Coroutine[Any, Any, str]]


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    """Starts a console that answers with a document, and with two events; its URL."""
    servers: list[TestServer] = []

    async def start(answer: Any) -> str:
        async def status(_: web.Request) -> web.Response:
            return web.json_response(answer)

        async def events(_: web.Request) -> web.Response:
            portion = json.dumps([EVENT, EVENT | {"name": "c.d"}])
            return web.Response(text=f"event: events\ndata: {portion}\n\n")

        application = web.Application()
        application.add_routes([web.get("/api/status", status), web.get("/api/events", events)])
        server = TestServer(application)
        await server.start_server()
        servers.append(server)
        return f"http://127.0.0.1:{server.port}"

    yield start
    for server in servers:
        await server.close()


async def test_the_exit_code_says_if_all_is_well(console: Console) -> None:
    well, ill = await console(document()), await console(document(changed={"draining": True}))
    assert await actions.show(well, view.status_view, as_json=False) == 0
    assert await actions.show(ill, view.status_view, as_json=False) == 1


async def test_json_is_the_document_as_it_was_sent(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    newer = document() | {"weather": "sunny"}
    url = await console(newer)
    await actions.show(url, view.status_view, as_json=True)
    await actions.show(url, view.secrets_view, part="secrets", as_json=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [newer, newer["secrets"]]


async def test_the_doctor_ends_with_1_where_it_finds_something(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await actions.examine(await console(document()), as_json=True) == 0
    assert await actions.examine(await console(document(changed={"draining": True})), as_json=True) == 1
    assert [[item["fault"] for item in json.loads(line)] for line in capsys.readouterr().out.splitlines()] == [
        [],
        ["draining"],
    ]


async def test_the_doctor_knows_a_sidecar_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert await actions.examine("http://127.0.0.1:1", as_json=True) == 69
    (found,) = json.loads(capsys.readouterr().out)
    assert found["evidence"] == "http://127.0.0.1:1 does not answer: Connection refused"


async def test_an_answer_that_is_no_document_counts_as_none(console: Console) -> None:
    assert await actions.examine(await console(["something else"]), as_json=True) == 69


async def test_events_are_filtered_and_counted(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    url = await console(document())
    assert await actions.follow(url, as_json=False, words=["c.d"], count=None) == 0
    assert await actions.follow(url, as_json=True, words=[], count=1) == 0
    assert capsys.readouterr().out == f"t p c.d x=1\n{json.dumps(EVENT)}\n"


def test_no_answer_is_69(capsys: pytest.CaptureFixture[str]) -> None:
    assert actions.run(actions.show("http://127.0.0.1:1", view.status_view, as_json=False)) == 69
    assert capsys.readouterr().err == "the sidecar does not answer: Connection refused\ntry: sidecar doctor\n"


@pytest.mark.parametrize(
    ("here", "named"), [([], ""), (["bao"], "bao"), (["vault"], "vault"), (["bao", "vault"], "")], ids=str
)
def test_the_command_of_vault_is_the_one_that_the_machine_has(here: list[str], named: str) -> None:
    assert actions.installed_cli(lambda name: f"/usr/bin/{name}" if name in here else None) == named
