from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from lightkube.config.models import User

from broker.orders.ownership.cluster_lease import Connect
from tests.unit.broker.orders.ownership.api_server import ApiServer, serving_leases


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with serving_leases() as made:
        yield made


@pytest.fixture
async def api(server: ApiServer) -> AsyncIterator[Connect]:
    client = server.client(User(token="t"))
    yield lambda: client
    await client.close()
