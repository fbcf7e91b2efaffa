from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from broker.api.application import build_application
from broker.api.auth.keys import ApiKeys, parse_api_keys
from broker.api.context import Surface
from broker.api.in_flight import InFlight
from broker.api.settings import ApiSettings
from broker.history.archive import Archive
from broker.history.database import Database
from broker.history.schema import migrate
from broker.history.settings import HistorySettings
from producer.health import Condition
from tests.unit.broker.api.asgi import Answer, call
from tests.unit.broker.api.fake_order_service import NOW, FakeDesk
from tests.unit.broker.secret_volume import KEYS, keys_file

ACCOUNT = "101-004-1234567-001"
KEYS_IN_USE = parse_api_keys(json.dumps(keys_file()))


@dataclass(slots=True, repr=False)
class Client:
    """Calls the application with the key of `flow`, unless told otherwise."""

    app: FastAPI
    surface: Surface
    desk: FakeDesk
    database: Database
    events: list[Any] = field(default_factory=list)
    keys: list[ApiKeys | None] = field(default_factory=lambda: [KEYS_IN_USE])

    async def __call__(self, method: str, target: str, *, key: str | None = KEYS["flow"], **options: Any) -> Answer:
        return await call(self.app, method, target, key=key, **options)

    async def place(self, **changed: Any) -> Answer:
        body = {"instrument": "EUR_USD", "side": "buy", "type": "market", "units": "100", **changed}
        return await self("POST", "/v1/orders", body=body)


@pytest.fixture
def settings() -> ApiSettings:
    return ApiSettings(tls="off", request_burst=1_000_000, requests_per_s=1e9)


@pytest.fixture
async def api(settings: ApiSettings, tmp_path: Path) -> AsyncIterator[Client]:
    desk, events, keys, numbers = FakeDesk(), list[Any](), [KEYS_IN_USE], count(1)
    database = Database(HistorySettings(url=f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite'}"))
    await database.ensure_open()
    async with database.transaction() as connection:
        await migrate(connection)
    async with InFlight() as in_flight:
        surface = Surface(
            settings=settings,
            history_rows=1000,
            account=ACCOUNT,
            desk=desk,
            archive=Archive(database, ACCOUNT),
            keys=lambda: keys[-1],
            in_flight=in_flight,
            emit=events.append,
            new_id=lambda: f"auto-{next(numbers)}",
            conditions=lambda: [Condition(name="Venue", ok=True, reason="Ready", message="", since=NOW)],
        )
        surface.ready.set()
        yield Client(build_application(surface), surface, desk, database, events, keys)
    await database.close()
