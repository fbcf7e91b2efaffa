from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.api.http.tls import new_server_context
from broker.config import CredentialSettings
from broker.credentials.watcher import Credentials
from broker.history.database import Database
from broker.history.settings import HistorySettings
from broker.orders.conditions import Conditions
from broker.venue.errors import NotAuthorizedError, NotSentError
from pod_runtime.secret import Secret
from producer.health import Condition
from tests.unit.broker.certificates import make_pair
from tests.unit.broker.secret_volume import KEYS, keys_file, publish, usual_files, venue_file

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)


class FakeVenue:
    def __init__(self) -> None:
        self.valid = {"token-1", "token-2"}
        self.is_down = False
        self.asked: list[str] = []

    async def prove(self, token: Secret) -> None:
        self.asked.append(token.reveal())
        if self.is_down:
            raise NotSentError("no connection")
        if token.reveal() not in self.valid:
            raise NotAuthorizedError("401")


class FakeStream:
    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def secrets_applied(self, generation: int) -> None:
        self.said.append(("applied", generation))

    def secrets_rejected(self, generation: int, secret: str, reason: str, message: str) -> None:
        self.said.append(("rejected", generation, secret, reason))


class Bench:
    def __init__(self, directory: Path, *, needs_tls: bool = False, asks_peers: bool = False) -> None:
        self.directory = directory
        self.venue = FakeVenue()
        self.stream = FakeStream()
        self.conditions = Conditions(lambda: NOW)
        self.events: list[Any] = []
        self.tls = new_server_context() if needs_tls else None
        self.credentials = Credentials(
            CredentialSettings(directory=directory, retry_s=5.0, poll_s=0.05),
            accounts=("101-004-1234567-001",),
            needs_tls=needs_tls,
            venue=self.venue,
            database=Database(HistorySettings(url=f"sqlite+aiosqlite:///{directory / 'history.sqlite'}")),
            tls=self.tls,
            asks_peers=asks_peers,
            conditions=self.conditions,
            emit=self.events.append,
            announce=self.stream,
            clock=lambda: NOW,
        )

    def condition(self, name: str) -> Condition:
        return next(item for item in self.conditions.all() if item.name == name)

    def token(self) -> str | None:
        token = self.credentials.venue_token()
        return token.reveal() if token is not None else None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_waits_for_secrets_and_says_so(bench: Bench) -> None:
    await bench.credentials.look(0)

    assert bench.token() is None
    assert bench.credentials.api_keys() is None
    condition = bench.condition("Credentials")
    assert (condition.ok, condition.reason) == (False, "WaitingForSecrets")
    assert bench.stream.said == []


async def test_generation_is_proved_then_applied_and_announced(bench: Bench) -> None:
    publish(bench.directory, 1, usual_files())
    await bench.credentials.look(0)

    assert bench.venue.asked == ["token-1"]
    assert bench.token() == "token-1"
    assert bench.stream.said == [("applied", 1)]
    assert bench.condition("Credentials").ok
    keys = bench.credentials.api_keys()
    assert keys is not None
    assert keys.find(KEYS["boss"]) is not None


async def test_settled_generation_is_not_read_again(bench: Bench) -> None:
    publish(bench.directory, 1, usual_files())
    for now_s in (0, 10, 1000):
        await bench.credentials.look(now_s)

    assert bench.venue.asked == ["token-1"]
    assert bench.stream.said == [("applied", 1)]


async def test_next_generation_replaces_all_at_once(bench: Bench) -> None:
    publish(bench.directory, 1, usual_files())
    await bench.credentials.look(0)
    publish(bench.directory, 2, {"venue.json": venue_file("token-2"), "api-keys.json": keys_file(("flow",))})
    await bench.credentials.look(1)

    assert bench.token() == "token-2"
    keys = bench.credentials.api_keys()
    assert keys is not None
    assert keys.find(KEYS["boss"]) is None
    assert bench.stream.said == [("applied", 1), ("applied", 2)]


async def test_unchanged_token_is_not_proved_again(bench: Bench) -> None:
    publish(bench.directory, 1, usual_files())
    await bench.credentials.look(0)
    publish(bench.directory, 2, {**usual_files(), "api-keys.json": keys_file(("flow",))})
    await bench.credentials.look(1)

    assert bench.venue.asked == ["token-1"]
    assert bench.stream.said[-1] == ("applied", 2)


async def test_token_that_the_venue_refuses_leaves_the_last_good_in_use(bench: Bench) -> None:
    publish(bench.directory, 1, usual_files())
    await bench.credentials.look(0)
    publish(bench.directory, 2, {"venue.json": venue_file("wrong"), "api-keys.json": keys_file(())})
    await bench.credentials.look(1)

    assert bench.token() == "token-1"
    keys = bench.credentials.api_keys()
    assert keys is not None
    assert keys.find(KEYS["flow"]) is not None
    assert bench.stream.said[-1] == ("rejected", 2, "venue", "Unauthorized")
    condition = bench.condition("Credentials")
    assert (condition.ok, condition.reason) == (True, "RejectedUnauthorized")
    assert "generation 1 stays in use" in condition.message


async def test_refused_token_is_asked_again_slowly_and_told_once(bench: Bench) -> None:
    publish(bench.directory, 1, {**usual_files(), "venue.json": venue_file("fresh")})
    for now_s in (0, 1, 4.9, 5, 6):
        await bench.credentials.look(now_s)
    assert bench.venue.asked == ["fresh", "fresh"]
    assert bench.stream.said == [("rejected", 1, "venue", "Unauthorized")]

    bench.venue.valid.add("fresh")
    await bench.credentials.look(10)
    assert bench.token() == "fresh"
    assert bench.stream.said[-1] == ("applied", 1)


async def test_malformed_generation_is_rejected_once_for_good(bench: Bench) -> None:
    publish(bench.directory, 1, {**usual_files(), "api-keys.json": b"{"})
    for now_s in (0, 100, 200):
        await bench.credentials.look(now_s)

    assert bench.stream.said == [("rejected", 1, "api-keys", "Malformed")]
    assert bench.venue.asked == []


async def test_token_for_another_account_is_rejected(bench: Bench) -> None:
    publish(bench.directory, 1, {**usual_files(), "venue.json": venue_file(account="101-004-7654321-001")})
    await bench.credentials.look(0)

    assert bench.stream.said == [("rejected", 1, "venue", "WrongAccount")]
    assert bench.venue.asked == []


async def test_venue_that_is_down_does_not_keep_a_first_generation_out_of_use(bench: Bench) -> None:
    bench.venue.is_down = True
    publish(bench.directory, 1, usual_files())
    await bench.credentials.look(0)

    assert bench.token() == "token-1"
    assert bench.stream.said == []
    condition = bench.condition("Credentials")
    assert (condition.ok, condition.reason) == (False, "VenueUnavailable")

    bench.venue.is_down = False
    await bench.credentials.look(5)
    assert bench.stream.said == [("applied", 1)]
    assert bench.condition("Credentials").ok


async def test_rotation_waits_while_the_venue_is_down_and_the_old_token_works(bench: Bench) -> None:
    publish(bench.directory, 1, usual_files())
    await bench.credentials.look(0)
    bench.venue.is_down = True
    publish(bench.directory, 2, {**usual_files(), "venue.json": venue_file("token-2")})
    await bench.credentials.look(1)
    assert bench.token() == "token-1"
    assert bench.condition("Credentials").ok

    bench.venue.is_down = False
    await bench.credentials.look(6)
    assert bench.token() == "token-2"
    assert bench.stream.said == [("applied", 1), ("applied", 2)]


async def test_401_in_use_is_not_ready_until_another_token_works(bench: Bench) -> None:
    publish(bench.directory, 1, usual_files())
    await bench.credentials.look(0)
    bench.credentials.refused(Secret("token-1"))
    bench.credentials.refused(Secret("token-1"))
    condition = bench.condition("VenueToken")
    assert (condition.ok, condition.reason) == (False, "Unauthorized")

    publish(bench.directory, 2, {**usual_files(), "venue.json": venue_file("token-2")})
    await bench.credentials.look(1)
    assert bench.token() == "token-2"
    assert bench.condition("VenueToken").ok


async def test_refused_token_is_asked_again_without_a_storm(bench: Bench) -> None:
    publish(bench.directory, 1, usual_files())
    await bench.credentials.look(0)
    bench.venue.valid.clear()
    bench.credentials.refused(Secret("token-1"))
    for now_s in range(1, 100):
        await bench.credentials.look(now_s)
    assert bench.venue.asked == ["token-1"] * 5
    assert not bench.condition("VenueToken").ok
    assert bench.stream.said == [("applied", 1)]

    bench.venue.valid.add("token-1")
    await bench.credentials.look(200)
    assert bench.condition("VenueToken").ok


async def test_401_of_an_older_token_changes_nothing(bench: Bench) -> None:
    publish(bench.directory, 1, {**usual_files(), "venue.json": venue_file("token-2")})
    await bench.credentials.look(0)
    bench.credentials.refused(Secret("token-1"))

    assert bench.condition("VenueToken").ok


async def test_refused_token_is_proved_again_when_a_generation_brings_it_back(bench: Bench) -> None:
    publish(bench.directory, 1, usual_files())
    await bench.credentials.look(0)
    bench.credentials.refused(Secret("token-1"))
    publish(bench.directory, 2, usual_files())
    await bench.credentials.look(1)

    assert bench.venue.asked == ["token-1", "token-1"]
    assert bench.condition("VenueToken").ok


async def test_required_certificate_that_is_missing_is_a_rejection(tmp_path: Path) -> None:
    bench = Bench(tmp_path, needs_tls=True)
    publish(tmp_path, 1, usual_files())
    await bench.credentials.look(0)

    assert bench.stream.said == [("rejected", 1, "tls", "Missing")]
    assert not bench.condition("Credentials").ok


async def test_certificate_is_loaded_with_its_generation(tmp_path: Path) -> None:
    bench = Bench(tmp_path, needs_tls=True)
    certificate, key = make_pair("one")
    publish(tmp_path, 1, {**usual_files(), "tls.crt": certificate, "tls.key": key})
    await bench.credentials.look(0)

    assert bench.stream.said == [("applied", 1)]


@pytest.mark.parametrize(("asks_peers", "mode"), [(True, ssl.CERT_OPTIONAL), (False, ssl.CERT_NONE)])
async def test_certificates_are_asked_of_clients_where_brokers_pass_on(
    tmp_path: Path, *, asks_peers: bool, mode: ssl.VerifyMode
) -> None:
    bench = Bench(tmp_path, needs_tls=True, asks_peers=asks_peers)
    certificate, key = make_pair("one")
    publish(tmp_path, 1, {**usual_files(), "tls.crt": certificate, "tls.key": key, "ca.crt": certificate})
    await bench.credentials.look(0)

    assert bench.tls is not None
    assert bench.tls.verify_mode is mode
    held = bench.credentials.certificate()
    assert held is not None
    assert held.authority is not None


async def test_brokers_that_pass_on_are_not_ready_without_the_authority_of_the_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path, needs_tls=True, asks_peers=True)
    certificate, key = make_pair("one")
    publish(tmp_path, 1, {**usual_files(), "tls.crt": certificate, "tls.key": key})
    await bench.credentials.look(0)

    assert bench.stream.said == [("rejected", 1, "tls", "Missing")]
    assert bench.credentials.certificate() is None


async def test_reloads_are_events_without_secrets(bench: Bench) -> None:
    publish(bench.directory, 1, usual_files())
    await bench.credentials.look(0)
    publish(bench.directory, 2, {**usual_files(), "venue.json": venue_file("wrong")})
    await bench.credentials.look(1)

    told = [tuple(event) for event in bench.events]
    assert told == [("all", "applied", 1, None), ("venue", "rejected", 2, "Unauthorized")]
    assert "wrong" not in repr(bench.conditions.all())


async def test_run_notices_a_publication_by_itself(bench: Bench) -> None:
    running = asyncio.create_task(bench.credentials.run())
    async with asyncio.timeout(10):
        await asyncio.sleep(0)
        publish(bench.directory, 1, usual_files())
        while bench.token() is None:
            await asyncio.sleep(0.01)
        publish(bench.directory, 2, {**usual_files(), "venue.json": venue_file("token-2")})
        while bench.token() != "token-2":
            await asyncio.sleep(0.01)
    running.cancel()


async def test_run_waits_for_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "later")
    running = asyncio.create_task(bench.credentials.run())
    async with asyncio.timeout(10):
        await asyncio.sleep(0)
        publish(bench.directory, 1, usual_files())
        while bench.token() is None:
            await asyncio.sleep(0.01)
    running.cancel()
