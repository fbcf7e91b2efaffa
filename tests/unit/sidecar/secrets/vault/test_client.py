"""Answers and errors of the client."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest

from pod_runtime.secret import Secret
from sidecar.secrets.errors import VaultFault
from sidecar.secrets.vault.client import VaultAnswer
from tests.unit.sidecar.secrets.hostile_server import answering, client_of, failing, serving

CANARY = 'c4n4ry/"+ ümlaut'
TOKEN = Secret(CANARY)


def forms(secret: str) -> list[str]:
    """Forms of a secret where it leaked."""
    return [
        secret,
        json.dumps(secret)[1:-1],
        urllib.parse.quote(secret),
        urllib.parse.quote_plus(secret),
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(secret.encode()).decode(),
    ]


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (400, VaultFault.INVALID),
        (403, VaultFault.DENIED),
        (404, VaultFault.NOT_FOUND),
        (405, VaultFault.INVALID),
        (412, VaultFault.SERVER),
        (429, VaultFault.RATE_LIMITED),
        (472, VaultFault.SERVER),
        (473, VaultFault.SERVER),
        (500, VaultFault.SERVER),
        (502, VaultFault.SERVER),
        (503, VaultFault.SEALED),
    ],
)
async def test_a_status_is_kept_and_asked_for_once(status: int, fault: VaultFault) -> None:
    error, requests = await failing(answering(status, b'{"errors":["no"]}'))
    assert (error.status, error.fault, requests) == (status, fault, 1)


async def test_retry_after_is_kept() -> None:
    error, _ = await failing(answering(429, Retry_After="17"))
    assert error.retry_after_s == 17


async def test_a_body_never_reaches_the_error() -> None:
    error, _ = await failing(answering(500, json.dumps({"errors": ["PASSWORD 'hunter2'"]}).encode()))
    assert "hunter2" not in f"{error} {error!r}"
    assert str(error) == "GET secret/data/x: status 500"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_token_never_follows_a_redirect(status: int) -> None:
    with serving(answering(200)) as other:
        error, requests = await failing(answering(status, Location=f"{other.address}/v1/secret/data/x"))
        assert (error.fault, requests) == (VaultFault.REDIRECT, 1)
        assert other.requests == []
        assert other.address.removeprefix("http://") in str(error)


async def test_a_token_goes_with_its_own_request_only() -> None:
    with serving(answering(200)) as server:
        async with client_of(server.address, namespace="team") as client:
            await client.call("GET", "a", token=Secret("first"))
            await client.call("GET", "b")
    assert server.requests[0][1]["x-vault-token"] == "first"
    assert server.requests[0][1]["x-vault-namespace"] == "team"
    assert "x-vault-token" not in server.requests[1][1]


async def test_answers_and_errors_do_not_show_secrets() -> None:
    body = json.dumps({"data": {"password": CANARY}, "lease_id": CANARY, "auth": {"client_token": CANARY}}).encode()
    with serving(answering(200, body)) as server:
        async with client_of(server.address) as client:
            answer = await client.call("GET", "x", token=Secret("t"))
    assert answer == VaultAnswer(status=200, data={"password": CANARY}, lease_id=CANARY, auth={"client_token": CANARY})
    assert not any(form in repr(answer) for form in forms(CANARY))
