from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator

from broker.config import BrokerTelemetrySettings
from tests.integration.api.broker_process import ROOT, Stand, standing, start
from tests.unit.broker.certificates import make_pair
from tests.unit.broker.secret_volume import KEYS, keys_file, publish, usual_files, venue_file

pytestmark = pytest.mark.real


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(tmp_path) as made:
        yield made


async def test_waits_for_secrets_then_trades_and_drains(stand: Stand) -> None:
    broker = await stand.start_broker()
    status, body = await stand.call("GET", "/v1/account")
    assert (status, body["reason"]) == (503, "NoApiKeys")

    publish(stand.secrets, 1, usual_files())
    await broker.event("ready")
    status, order = await stand.place_order(client_order_id="first")
    assert (status, order["status"]) == (201, "filled")
    assert await broker.end() == 0
    with sqlite3.connect(stand.place / "history.sqlite") as history:
        assert history.execute("SELECT client_order_id, status FROM orders").fetchall() == [("first", "filled")]


async def test_second_signal_changes_nothing(stand: Stand) -> None:
    broker = await stand.start_ready()
    broker.child.send_signal(signal.SIGTERM)
    broker.child.send_signal(signal.SIGTERM)
    broker.child.send_signal(signal.SIGINT)

    assert await broker.end(signal.SIGINT) == 0


async def test_drain_settles_orders_in_flight_and_refuses_new_ones(stand: Stand) -> None:
    broker = await stand.start_ready()
    await stand.fault(kind="delay", method="POST", path="/orders", count=10, seconds=1.0)
    flying = [asyncio.create_task(stand.place_order(client_order_id=f"fly-{number}")) for number in range(10)]
    async with asyncio.timeout(120):
        while len((await stand.call("GET", "/v1/orders"))[1]["orders"]) < 10:
            await asyncio.sleep(0.02)
    broker.child.send_signal(signal.SIGTERM)
    await broker.event("draining")

    status, refused = await stand.place_order(client_order_id="late")
    assert (status, refused["type"]) == (503, "urn:broker:problem:draining")
    answers = await asyncio.gather(*flying)
    assert Counter((status, order["status"]) for status, order in answers) == {(201, "filled"): 10}
    assert await broker.end() == 0
    with sqlite3.connect(stand.place / "history.sqlite") as history:
        (filled,) = history.execute("SELECT count(*) FROM orders WHERE status = 'filled'").fetchone()
    assert filled == 10


async def test_history_is_complete_after_a_kill(stand: Stand) -> None:
    broker = await stand.start_ready()
    answers = await asyncio.gather(*(stand.place_order(client_order_id=f"k-{number}") for number in range(30)))
    assert [order for status, order in answers if status != 201] == []  # a refusal is shown with its reason
    await broker.end(signal.SIGKILL)
    successor = await stand.start_broker()
    await successor.event("ready")
    async with asyncio.timeout(120):
        while True:
            _, page = await stand.call("GET", "/v1/history/orders?limit=100")
            if len(page["orders"]) == 30:
                break
            await asyncio.sleep(0.05)

    assert {item["id"]: item["status"] for item in page["orders"]} == {
        order["id"]: order["status"] for _, order in answers
    }


async def test_revoked_token_stops_trading_until_the_next_generation(stand: Stand) -> None:
    broker = await stand.start_ready()
    await rotate_token(stand)
    await stand.call("GET", "/v1/account")
    condition = await stand.until("VenueToken", ok=False)
    assert condition["reason"] == "Unauthorized"

    publish(stand.secrets, 2, {**usual_files(), "venue.json": venue_file("token-2")})
    await stand.until("VenueToken", ok=True)
    await stand.until("Venue", ok=True)
    status, order = await stand.place_order()
    assert (status, order["status"]) == (201, "filled")
    assert "token-1" not in json.dumps(broker.lines) + "".join(broker.other)
    assert await broker.end() == 0
    written = b"".join(path.read_bytes() for path in files_of_the_broker(stand))
    assert b"EUR_USD" in written
    assert [secret for secret in ("token-1", "token-2", *KEYS.values()) if secret.encode() in written] == []


def files_of_the_broker(stand: Stand) -> list[Path]:
    """Journal, spool of telemetry events, history."""
    folders = [stand.place / "orders", stand.place / "spool"]
    return [
        *stand.place.glob("history.sqlite*"),
        *(file for top in folders for file in top.rglob("*") if file.is_file()),
    ]


async def test_bad_rotation_keeps_the_last_good_in_use(stand: Stand) -> None:
    broker = await stand.start_ready()
    publish(stand.secrets, 2, {**usual_files(), "venue.json": venue_file("no-such-token")})
    rejected = await broker.event("secrets rejected")
    assert (rejected["generation"], rejected["reason"]) == (2, "Unauthorized")

    status, order = await stand.place_order()
    assert (status, order["status"]) == (201, "filled")
    assert "no-such-token" not in json.dumps(broker.lines)


async def test_rotated_api_keys_hold_without_a_restart(stand: Stand) -> None:
    await stand.start_ready()
    publish(stand.secrets, 2, {**usual_files(), "api-keys.json": keys_file(("flow",))})
    async with asyncio.timeout(120):
        while (await stand.call("GET", "/v1/account"))[0] != 401:
            await asyncio.sleep(0.02)

    assert (await stand.call("GET", "/v1/account", key="flow"))[0] == 200


async def rotate_token(stand: Stand) -> None:
    """The venue takes `token-2` instead of `token-1` from now on."""
    change = {"accept": ["token-2"], "revoke": ["token-1"]}
    async with stand.session.post(f"{stand.rest}/simulator/tokens", json=change) as answer:
        assert answer.status == 200, await answer.text()


def trusting(certificate: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate.decode())


async def test_certificate_is_replaced_without_dropping_a_connection(stand: Stand) -> None:
    first, second = make_pair("one"), make_pair("two")
    stand.changed["api"] = {"tls": "required"}
    publish(stand.secrets, 1, {**usual_files(), "tls.crt": first[0], "tls.key": first[1]})
    broker = await stand.start_broker()
    await broker.event("ready")
    async with aiohttp.ClientSession(headers={"X-API-Key": "key-of-boss"}) as standing_connection:
        address, trust = f"{stand.url}/v1/admin/state", trusting(first[0])
        async with standing_connection.get(address, ssl=trust) as answer:
            assert (answer.status, await answer.json()) == (200, {"state": "active"})

        publish(stand.secrets, 2, {**usual_files(), "tls.crt": second[0], "tls.key": second[1]})
        async with asyncio.timeout(120):
            while await status_with(address, second[0]) != 200:
                await asyncio.sleep(0.02)
        assert await status_with(address, first[0]) is None
        async with standing_connection.get(address, ssl=trust) as answer:
            assert (answer.status, await answer.json()) == (200, {"state": "active"})
    assert await broker.end() == 0


async def status_with(address: str, certificate: bytes) -> int | None:
    """The status on a new connection that trusts this certificate; None where the handshake fails."""
    async with aiohttp.ClientSession(headers={"X-API-Key": "key-of-boss"}) as session:
        try:
            async with session.get(address, ssl=trusting(certificate)) as answer:
                return answer.status
        except aiohttp.ClientConnectorError:
            return None


async def test_required_tls_without_a_certificate_serves_nothing_in_the_clear(stand: Stand) -> None:
    stand.changed["api"] = {"tls": "required"}
    publish(stand.secrets, 1, usual_files())
    broker = await stand.start_broker()
    rejected = await broker.event("secrets rejected")

    assert (rejected["secret"], rejected["reason"]) == ("tls", "Missing")
    with pytest.raises(aiohttp.ClientError):
        async with stand.session.get(stand.url.replace("https", "http") + "/docs"):
            pass
    assert await broker.end() == 0


async def test_port_in_use_says_which_and_who(stand: Stand) -> None:
    port = int(stand.venue["rest"].rpartition(":")[2])
    stand.changed["api"] = {"port": port}
    broker = await start("-m", "broker", "--config", str(stand.configuration()))

    assert await broker.child.wait() == 69
    await asyncio.wait_for(broker.reading or asyncio.sleep(0), 120)
    assert f"port {port} is in use by {stand.simulator.child.pid} " in "".join(broker.other)


async def test_event_stream_tells_orders_and_ends_with_the_drain(stand: Stand) -> None:
    broker = await stand.start_ready()
    seen: list[dict[str, Any]] = []

    async def listen(begun: asyncio.Event) -> None:
        headers = {"X-API-Key": "key-of-auditor"}
        async with stand.session.get(f"{stand.url}/v1/events?types=order", headers=headers) as answer:
            begun.set()
            async for line in answer.content:
                if line.startswith(b"data: "):
                    seen.append(json.loads(line.removeprefix(b"data: ")))  # noqa: PERF401 - read while it grows

    begun = asyncio.Event()
    listening = asyncio.create_task(listen(begun))
    await begun.wait()
    await stand.place_order(client_order_id="heard")
    async with asyncio.timeout(120):
        while not any(item["status"] == "filled" for item in seen):
            await asyncio.sleep(0.01)
        assert await broker.end() == 0
        await listening

    assert {item["client_order_id"] for item in seen} == {"heard"}
    assert [item["status"] for item in seen][-1] == "filled"


async def test_commands_ask_a_running_broker(stand: Stand, tmp_path: Path) -> None:
    await stand.start_ready()
    await stand.place_order(type="limit", price="1.05000", client_order_id="resting")
    key = tmp_path / "key"
    key.write_text("key-of-boss\n")

    async def command(*arguments: str) -> tuple[int, str]:
        process = await start("-m", "broker", *arguments, "--url", stand.url, "--key-file", str(key))
        await process.child.wait()
        await asyncio.wait_for(process.reading or asyncio.sleep(0), 120)
        return int(process.child.returncode or 0), "".join(process.other) or json.dumps(process.lines)

    code, text = await command("orders")
    assert code == 0
    assert "resting" in text
    assert await command("positions") == (0, "no open positions\n")
    assert await command("halt", "--reason", "test") == (0, "the broker is halted\n")
    status, body = await stand.place_order()
    assert (status, body["reason"]) == (422, "TRADING_HALTED")
    assert await command("resume", "--reason", "test") == (0, "the broker is active\n")
    assert await command("reconcile") == (0, "the venue and the broker agree\n")

    key.write_text("wrong")
    code, text = await command("orders")
    assert (code, "401" in text) == (77, True)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "broker", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
    )


def test_every_fault_of_a_configuration_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text(
        """
        [api]
        prot = 1
        tls = "maybe"
        [venue]
        rest_url = "https://api-fxtrade.oanda.com"
        stream_url = "https://stream-fxtrade.oanda.com"
        account = "001-004-1234567-001"
        [history]
        url = "postgresql+asyncpg://user:hunter2@db/broker"
        """
    )
    ended = run("--config", str(path), "--check-config")

    assert ended.returncode == 78
    lines = ended.stderr.splitlines()
    assert any("api.prot: is not a setting; did you mean 'port'?" in line for line in lines)
    assert any(line.startswith("api.tls: must be one of required, off") for line in lines)
    assert any(line.startswith("venue: the live hosts trade real money") for line in lines)
    assert any(line.startswith("history: url has a user or password") for line in lines)
    assert "hunter2" not in ended.stderr


def test_effective_configuration_is_the_file_it_would_be_read_from(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text('[venue]\naccount = "101-004-1234567-001"\n')
    ended = run("--config", str(path), "--check-config")
    assert ended.returncode == 0, ended.stderr
    table = tomllib.loads(ended.stdout)
    assert table["api"]["port"] == 8080
    assert table["telemetry"]["socket"] == str(BrokerTelemetrySettings().socket)

    path.write_text(ended.stdout)
    assert run("--config", str(path), "--check-config").stdout == ended.stdout
    schema = json.loads(run("--config-schema").stdout)
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(table)


async def test_no_file_of_the_process_is_open_to_others_whatever_the_umask(stand: Stand) -> None:
    (stand.place / "history.sqlite").touch(mode=0o644)
    (stand.place / "orders").mkdir()
    before = os.umask(0o000)
    try:
        broker = await stand.start_ready()
    finally:
        os.umask(before)
    assert (await stand.place_order(client_order_id="first"))[0] == 201
    assert (stand.place / "history.sqlite-wal").exists()
    own = [*stand.place.glob("history.sqlite*"), *stand.place.glob("orders/**/*"), *stand.place.glob("spool/**/*")]
    assert {str(path): oct(path.stat().st_mode) for path in own if path.stat().st_mode & 0o077} == {}
    assert await broker.end() == 0


async def test_no_log_at_any_level_and_no_page_of_the_broker_shows_a_secret(stand: Stand) -> None:
    stand.changed = {"log": {"level": "DEBUG"}}
    broker = await stand.start_ready()
    assert (await stand.place_order(client_order_id="first"))[0] == 201
    # The venue refuses this one: its answer and our error are in the log.
    publish(stand.secrets, 2, {**usual_files(), "venue.json": venue_file("token-refused")})
    await broker.event("secrets rejected")
    assert (await stand.call("GET", "/v1/orders", headers={"X-API-Key": "key-of-nobody"}))[0] == 401
    texts = [json.dumps((await stand.call("GET", path))[1]) for path in ("/v1/admin/conditions", "/v1/orders")]
    async with stand.session.get(f"{stand.url}/metrics") as answer:
        texts.append(await answer.text())
    texts += [Path(f"/proc/{broker.child.pid}/{name}").read_text() for name in ("environ", "cmdline")]
    assert await broker.end() == 0
    texts += [json.dumps(broker.lines), *broker.other]
    secrets = ("token-1", "token-refused", "key-of-nobody", *KEYS.values())
    assert [secret for secret in secrets if any(secret in text for text in texts)] == []
