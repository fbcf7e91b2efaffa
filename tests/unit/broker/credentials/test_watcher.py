from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.api.http.tls import new_server_context
from broker.config import CredentialSettings
from broker.credentials.proof import CredentialNeeds
from broker.credentials.watcher import CredentialWatcher
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


class WatcherHarness:
    def __init__(self, directory: Path, *, needs_tls: bool = False, asks_peers: bool = False) -> None:
        self.directory = directory
        self.venue = FakeVenue()
        self.stream = FakeStream()
        self.conditions = Conditions(lambda: NOW)
        self.events: list[Any] = []
        self.tls = new_server_context() if needs_tls else None
        self.credentials = CredentialWatcher(
            CredentialSettings(directory=directory, retry_s=5.0, poll_s=0.05),
            CredentialNeeds(accounts=("101-004-1234567-001",), needs_tls=needs_tls, asks_peers=asks_peers),
            venue=self.venue,
            database=Database(HistorySettings(url=f"sqlite+aiosqlite:///{directory / 'history.sqlite'}")),
            tls=self.tls,
            conditions=self.conditions,
            emit=self.events.append,
            announce=self.stream,
            clock=lambda: NOW,
        )

    def condition(self, name: str) -> Condition:
        return next(item for item in self.conditions.all() if item.name == name)

    def token(self) -> str | None:
        token = self.credentials.token()
        return token.reveal() if token is not None else None


@pytest.fixture
def harness(tmp_path: Path) -> WatcherHarness:
    return WatcherHarness(tmp_path)


async def test_waits_for_secrets_and_says_so(harness: WatcherHarness) -> None:
    await harness.credentials.poll(0)

    assert harness.token() is None
    assert harness.credentials.api_keys() is None
    condition = harness.condition("Credentials")
    assert (condition.ok, condition.reason) == (False, "WaitingForSecrets")
    assert harness.stream.said == []


async def test_generation_is_proved_then_applied_and_announced(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, usual_files())
    await harness.credentials.poll(0)

    assert harness.venue.asked == ["token-1"]
    assert harness.token() == "token-1"
    assert harness.stream.said == [("applied", 1)]
    assert harness.condition("Credentials").ok
    keys = harness.credentials.api_keys()
    assert keys is not None
    assert keys.find(KEYS["boss"]) is not None


async def test_settled_generation_is_not_read_again(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, usual_files())
    for now_s in (0, 10, 1000):
        await harness.credentials.poll(now_s)

    assert harness.venue.asked == ["token-1"]
    assert harness.stream.said == [("applied", 1)]


async def test_next_generation_replaces_all_at_once(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, usual_files())
    await harness.credentials.poll(0)
    publish(harness.directory, 2, {"venue.json": venue_file("token-2"), "api-keys.json": keys_file(("flow",))})
    await harness.credentials.poll(1)

    assert harness.token() == "token-2"
    keys = harness.credentials.api_keys()
    assert keys is not None
    assert keys.find(KEYS["boss"]) is None
    assert harness.stream.said == [("applied", 1), ("applied", 2)]


async def test_unchanged_token_is_not_proved_again(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, usual_files())
    await harness.credentials.poll(0)
    publish(harness.directory, 2, {**usual_files(), "api-keys.json": keys_file(("flow",))})
    await harness.credentials.poll(1)

    assert harness.venue.asked == ["token-1"]
    assert harness.stream.said[-1] == ("applied", 2)


async def test_token_that_the_venue_refuses_leaves_the_last_good_in_use(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, usual_files())
    await harness.credentials.poll(0)
    publish(harness.directory, 2, {"venue.json": venue_file("wrong"), "api-keys.json": keys_file(())})
    await harness.credentials.poll(1)

    assert harness.token() == "token-1"
    keys = harness.credentials.api_keys()
    assert keys is not None
    assert keys.find(KEYS["flow"]) is not None
    assert harness.stream.said[-1] == ("rejected", 2, "venue", "Unauthorized")
    condition = harness.condition("Credentials")
    assert (condition.ok, condition.reason) == (True, "RejectedUnauthorized")
    assert "generation 1 stays in use" in condition.message


async def test_refused_token_is_asked_again_slowly_and_told_once(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, {**usual_files(), "venue.json": venue_file("fresh")})
    for now_s in (0, 1, 4.9, 5, 6):
        await harness.credentials.poll(now_s)
    assert harness.venue.asked == ["fresh", "fresh"]
    assert harness.stream.said == [("rejected", 1, "venue", "Unauthorized")]

    harness.venue.valid.add("fresh")
    await harness.credentials.poll(10)
    assert harness.token() == "fresh"
    assert harness.stream.said[-1] == ("applied", 1)


async def test_malformed_generation_is_rejected_once_for_good(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, {**usual_files(), "api-keys.json": b"{"})
    for now_s in (0, 100, 200):
        await harness.credentials.poll(now_s)

    assert harness.stream.said == [("rejected", 1, "api-keys", "Malformed")]
    assert harness.venue.asked == []


async def test_token_for_another_account_is_rejected(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, {**usual_files(), "venue.json": venue_file(account="101-004-7654321-001")})
    await harness.credentials.poll(0)

    assert harness.stream.said == [("rejected", 1, "venue", "WrongAccount")]
    assert harness.venue.asked == []


async def test_venue_that_is_down_does_not_keep_a_first_generation_out_of_use(harness: WatcherHarness) -> None:
    harness.venue.is_down = True
    publish(harness.directory, 1, usual_files())
    await harness.credentials.poll(0)

    assert harness.token() == "token-1"
    assert harness.stream.said == []
    condition = harness.condition("Credentials")
    assert (condition.ok, condition.reason) == (False, "VenueUnavailable")

    harness.venue.is_down = False
    await harness.credentials.poll(5)
    assert harness.stream.said == [("applied", 1)]
    assert harness.condition("Credentials").ok


async def test_rotation_waits_while_the_venue_is_down_and_the_old_token_works(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, usual_files())
    await harness.credentials.poll(0)
    harness.venue.is_down = True
    publish(harness.directory, 2, {**usual_files(), "venue.json": venue_file("token-2")})
    await harness.credentials.poll(1)
    assert harness.token() == "token-1"
    assert harness.condition("Credentials").ok

    harness.venue.is_down = False
    await harness.credentials.poll(6)
    assert harness.token() == "token-2"
    assert harness.stream.said == [("applied", 1), ("applied", 2)]


async def test_401_in_use_is_not_ready_until_another_token_works(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, usual_files())
    await harness.credentials.poll(0)
    harness.credentials.on_unauthorized(Secret("token-1"))
    harness.credentials.on_unauthorized(Secret("token-1"))
    condition = harness.condition("VenueToken")
    assert (condition.ok, condition.reason) == (False, "Unauthorized")

    publish(harness.directory, 2, {**usual_files(), "venue.json": venue_file("token-2")})
    await harness.credentials.poll(1)
    assert harness.token() == "token-2"
    assert harness.condition("VenueToken").ok


async def test_refused_token_is_asked_again_without_a_storm(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, usual_files())
    await harness.credentials.poll(0)
    harness.venue.valid.clear()
    harness.credentials.on_unauthorized(Secret("token-1"))
    for now_s in range(1, 100):
        await harness.credentials.poll(now_s)
    assert harness.venue.asked == ["token-1"] * 5
    assert not harness.condition("VenueToken").ok
    assert harness.stream.said == [("applied", 1)]

    harness.venue.valid.add("token-1")
    await harness.credentials.poll(200)
    assert harness.condition("VenueToken").ok


async def test_401_of_an_older_token_changes_nothing(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, {**usual_files(), "venue.json": venue_file("token-2")})
    await harness.credentials.poll(0)
    harness.credentials.on_unauthorized(Secret("token-1"))

    assert harness.condition("VenueToken").ok


async def test_refused_token_is_proved_again_when_a_generation_brings_it_back(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, usual_files())
    await harness.credentials.poll(0)
    harness.credentials.on_unauthorized(Secret("token-1"))
    publish(harness.directory, 2, usual_files())
    await harness.credentials.poll(1)

    assert harness.venue.asked == ["token-1", "token-1"]
    assert harness.condition("VenueToken").ok


async def test_required_certificate_that_is_missing_is_a_rejection(tmp_path: Path) -> None:
    harness = WatcherHarness(tmp_path, needs_tls=True)
    publish(tmp_path, 1, usual_files())
    await harness.credentials.poll(0)

    assert harness.stream.said == [("rejected", 1, "tls", "Missing")]
    assert not harness.condition("Credentials").ok


async def test_certificate_is_loaded_with_its_generation(tmp_path: Path) -> None:
    harness = WatcherHarness(tmp_path, needs_tls=True)
    certificate, key = make_pair("one")
    publish(tmp_path, 1, {**usual_files(), "tls.crt": certificate, "tls.key": key})
    await harness.credentials.poll(0)

    assert harness.stream.said == [("applied", 1)]


@pytest.mark.parametrize(("asks_peers", "mode"), [(True, ssl.CERT_OPTIONAL), (False, ssl.CERT_NONE)])
async def test_certificates_are_asked_of_clients_where_brokers_pass_on(
    tmp_path: Path, *, asks_peers: bool, mode: ssl.VerifyMode
) -> None:
    harness = WatcherHarness(tmp_path, needs_tls=True, asks_peers=asks_peers)
    certificate, key = make_pair("one")
    publish(tmp_path, 1, {**usual_files(), "tls.crt": certificate, "tls.key": key, "ca.crt": certificate})
    await harness.credentials.poll(0)

    assert harness.tls is not None
    assert harness.tls.verify_mode is mode
    held = harness.credentials.certificate()
    assert held is not None
    assert held.authority is not None


async def test_brokers_that_pass_on_are_not_ready_without_the_authority_of_the_others(tmp_path: Path) -> None:
    harness = WatcherHarness(tmp_path, needs_tls=True, asks_peers=True)
    certificate, key = make_pair("one")
    publish(tmp_path, 1, {**usual_files(), "tls.crt": certificate, "tls.key": key})
    await harness.credentials.poll(0)

    assert harness.stream.said == [("rejected", 1, "tls", "Missing")]
    assert harness.credentials.certificate() is None


async def test_reloads_are_events_without_secrets(harness: WatcherHarness) -> None:
    publish(harness.directory, 1, usual_files())
    await harness.credentials.poll(0)
    publish(harness.directory, 2, {**usual_files(), "venue.json": venue_file("wrong")})
    await harness.credentials.poll(1)

    told = [tuple(event) for event in harness.events]
    assert told == [("all", "applied", 1, None), ("venue", "rejected", 2, "Unauthorized")]
    assert "wrong" not in repr(harness.conditions.all())


async def test_run_notices_a_publication_by_itself(harness: WatcherHarness) -> None:
    running = asyncio.create_task(harness.credentials.run())
    async with asyncio.timeout(120):
        await asyncio.sleep(0)
        publish(harness.directory, 1, usual_files())
        while harness.token() is None:
            await asyncio.sleep(0.01)
        publish(harness.directory, 2, {**usual_files(), "venue.json": venue_file("token-2")})
        while harness.token() != "token-2":
            await asyncio.sleep(0.01)
    running.cancel()


async def test_run_waits_for_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    harness = WatcherHarness(tmp_path / "later")
    running = asyncio.create_task(harness.credentials.run())
    async with asyncio.timeout(120):
        await asyncio.sleep(0)
        publish(harness.directory, 1, usual_files())
        while harness.token() is None:
            await asyncio.sleep(0.01)
    running.cancel()
