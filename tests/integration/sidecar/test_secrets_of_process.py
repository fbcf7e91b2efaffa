from __future__ import annotations

import asyncio
import base64
import html
import io
import json
import signal
import urllib.parse
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from telemetry_contract.v1 import telemetry_pb2 as pb
from tests.integration.sidecar.sidecar_process import Process, command, producer, running, settings, short_directory
from tests.openbao import OpenBao, running_openbao

pytestmark = pytest.mark.real
CANARY = 'canäry"/+9f31c0'
RULES = """
path "secret/data/broker/*" { capabilities = ["read"] }
path "secret/metadata/broker/*" { capabilities = ["read"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
"""


@pytest.fixture(scope="module")
def bao() -> Iterator[OpenBao]:
    with running_openbao() as server:
        yield server


@pytest.fixture
async def place(bao: OpenBao) -> AsyncIterator[Path]:
    async with short_directory() as found:
        bao.write_kv("broker/venue", token=f"{CANARY}-1")
        bao.approle(found, policy="broker", rules=RULES, token_ttl="20m")
        yield found


def with_secrets(bao_address: str, place: Path) -> dict[str, Any]:
    return settings(place) | {
        "secrets": {
            "address": bao_address,
            "directory": str(place / "secrets"),
            "lease_journal": str(place / "leases"),
            "require_tmpfs": False,
            "poll_interval_s": 0.2,
            "auth": {
                "method": "approle",
                "role_id_file": str(place / "role-id"),
                "secret_id_file": str(place / "secret-id"),
            },
            "secrets": [{"name": "venue", "source": "kv", "path": "broker/venue", "files": [{"name": "venue.json"}]}],
        }
    }


async def until(process: Process, path: str, value: Any) -> dict[str, Any]:
    """The status once what stands at `path` in it is `value`."""
    async with asyncio.timeout(120):
        while True:
            status = await process.status()
            found: Any = status
            for key in path.split("."):
                found = found[key]
            if found == value:
                return status
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
async def test_a_generation_is_published_proved_and_rotated_and_nothing_shows_a_value(
    bao: OpenBao, place: Path, level: str
) -> None:
    table = with_secrets(bao.address, place) | {"log": {"level": level}}
    async with running(table, place) as process, producer(place) as broker:
        await until(process, "secrets.generation", 1)
        assert json.loads((place / "secrets" / "venue.json").read_text()) == {"token": f"{CANARY}-1"}
        await broker.say(secrets_applied=pb.SecretsApplied(generation=1))
        await until(process, "secrets.acknowledged", 1)
        bao.write_kv("broker/venue", token=f"{CANARY}-2")
        assert (await command("--config", str(process.config), "rotate", "venue"))[0] == 0
        await until(process, "secrets.generation", 2)
        refusal = pb.SecretsRejected(generation=2, secret="venue", reason="authentication_failed", message="401")
        await broker.say(secrets_rejected=refusal)
        await until(process, "secrets.stage", "rejected")
        code, found, _ = await command("doctor", "--json", "--console", process.url("console"))
        faults = {item["fault"] for item in json.loads(found)}
        shown = await everything(process)
        assert await process.end() == 0
    assert (code, "secret_rejected" in faults) == (1, True)
    said = "\n".join([json.dumps(process.said, ensure_ascii=False), json.dumps(process.said), process.complaints])
    for form in forms(CANARY):
        assert form not in shown
        assert form not in said


async def test_sighup_rotates_every_secret(bao: OpenBao, place: Path) -> None:
    config = with_secrets(bao.address, place)
    config["secrets"]["poll_interval_s"] = 60.0  # so that only the signal can bring it
    async with running(config, place) as process:
        await until(process, "secrets.generation", 1)
        bao.write_kv("broker/venue", token=f"{CANARY}-3")
        process.child.send_signal(signal.SIGHUP)
        await until(process, "secrets.generation", 2)
        assert await process.end() == 0


def forms(secret: str) -> list[str]:
    """Forms of a secret where it leaked; base64 at each of the three places that it can begin at."""
    shifted = [base64.b64encode(bytes(shift) + secret.encode()).decode()[4:-4] for shift in range(3)]
    return [secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret, safe=""), html.escape(secret), *shifted]


PAGES = (
    *(("probes", f"{path}?verbose") for path in ("/livez", "/readyz", "/startupz")),
    ("metrics", "/metrics"),
    ("console", "/"),
    ("console", "/api/status"),
)


async def everything(process: Process) -> str:
    """All that the sidecar shows to anybody."""
    async with aiohttp.ClientSession() as session, session.get(process.url("console", "/api/diagnostics")) as answer:
        archive = zipfile.ZipFile(io.BytesIO(await answer.read()))
    texts = [archive.read(name).decode() for name in archive.namelist()]
    texts += [(await process.get(server, path))[1] for server, path in PAGES]
    for words in (("secrets",), ("secrets", "--json"), ("status", "--json")):
        texts.append((await command(*words, "--console", process.url("console")))[1])
    texts += [Path(f"/proc/{process.child.pid}/{name}").read_text() for name in ("environ", "cmdline")]
    return "\n".join(texts)


async def test_without_vault_it_is_not_started_and_says_why(bao: OpenBao, place: Path) -> None:
    async with running(with_secrets("http://127.0.0.1:1", place), place) as process:
        async with asyncio.timeout(120):
            while "Unreachable" not in (found := await process.get("probes", "/startupz?verbose"))[1]:
                await asyncio.sleep(0.05)
        assert found[0] == 503
        assert (await process.get("probes", "/livez"))[0] == 200
        code, text, _ = await command("doctor", "--json", "--console", process.url("console"))
        assert (code, [item["fault"] for item in json.loads(text)][:2]) == (
            1,
            ["producer_never_seen", "vault_unreachable"],
        )
        assert await process.end() == 0


async def test_a_login_that_is_refused_is_told_by_its_status(bao: OpenBao, place: Path) -> None:
    (place / "secret-id").write_text("no such id")
    async with running(with_secrets(bao.address, place), place) as process:
        async with asyncio.timeout(120):
            while "vault_refuses" not in (
                text := (await command("doctor", "--json", "--console", process.url("console")))[1]
            ):
                await asyncio.sleep(0.05)
    evidence = next(item["evidence"] for item in json.loads(text) if item["fault"] == "vault_refuses")
    assert evidence.startswith("login: ")
    assert evidence.endswith("(HTTP 400)")
