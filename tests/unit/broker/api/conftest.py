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
from broker.api.context import AccountApi, ApiContext
from broker.api.forwarding.peer import Peer
from broker.api.settings import ApiSettings
from broker.domain import Order
from broker.history.archive import Archive
from broker.history.database import Database
from broker.history.rows import rows_of
from broker.history.schema import ensure_schema
from broker.history.settings import HistorySettings
from broker.history.writer import write_rows
from broker.orders.store.tail import Change
from producer.health import Condition
from tests.unit.broker.api.asgi import Answer, call
from tests.unit.broker.api.fake_market_data import FakeMarketData
from tests.unit.broker.api.fake_order_service import NOW, FakeOrderService
from tests.unit.broker.history.fake_journal import make_transaction
from tests.unit.broker.secret_volume import KEYS, keys_file

ACCOUNT = "101-004-1234567-001"
KEYS_IN_USE = parse_api_keys(json.dumps(keys_file()))


@dataclass(slots=True, repr=False)
class Client:
    """Calls the application with the key of `flow`, unless told otherwise."""

    app: FastAPI
    context: ApiContext
    account: AccountApi
    orders: FakeOrderService
    database: Database
    market: FakeMarketData
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


class FakeCredentials:
    """Keys that a test may change, and no certificate."""

    def __init__(self) -> None:
        self.keys: list[ApiKeys | None] = [KEYS_IN_USE]

    def api_keys(self) -> ApiKeys | None:
        return self.keys[-1]

    def certificate(self) -> None:
        return None


@pytest.fixture
async def api(settings: ApiSettings, tmp_path: Path) -> AsyncIterator[Client]:
    orders, events, credentials, numbers = FakeOrderService(), list[Any](), FakeCredentials(), count(1)
    market = FakeMarketData()
    database = Database(HistorySettings(url=f"sqlite+aiosqlite:///{tmp_path / 'history.sqlite'}"))
    await ensure_schema(database)
    account = AccountApi(
        id=ACCOUNT,
        orders=orders,
        archive=Archive(database, ACCOUNT),
        market=market,
        conditions=lambda: [Condition(name="Venue", ok=True, reason="Ready", message="", since=NOW)],
    )
    context = ApiContext(
        settings=settings,
        accounts={ACCOUNT: account},
        keys=credentials,
        peer=Peer(settings, credentials),
        forwards_writes=False,
        export_rows=1000,
        emit=events.append,
        new_client_order_id=lambda: f"auto-{next(numbers)}",
    )
    context.ready.set()
    async with context.in_flight:
        yield Client(build_application(context), context, account, orders, database, market, events, credentials.keys)
    await database.close()


async def fill_history(api: Client, *orders: Order) -> None:
    """Write orders and one transaction into the history of the account."""
    changes = [Change(position=number, order=order) for number, order in enumerate(orders)]
    changes.append(Change(position=99, transaction=make_transaction(7)))
    async with api.database.transaction() as connection:
        await write_rows(connection, rows_of(changes, ACCOUNT))
