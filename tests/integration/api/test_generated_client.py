"""A client made by a generator from our OpenAPI document, against a running broker."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.broker_process import Stand, standing
from tests.unit.broker.secret_volume import KEYS

pytestmark = pytest.mark.real


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with standing(tmp_path) as made:
        yield made


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Imports a module of the generated package."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(name: str) -> Any:
        return importlib.import_module(f"generated_broker_client.{name}")

    yield load
    for name in [name for name in sys.modules if name.startswith("generated_broker_client")]:
        del sys.modules[name]


async def test_generated_client_places_reads_and_is_told_what_is_wrong(
    stand: Stand, imported: Any, tmp_path: Path
) -> None:
    await stand.start_ready()
    async with stand.session.get(f"{stand.url}/openapi.json") as answer:
        (tmp_path / "openapi.json").write_text(await answer.text())
    generate(tmp_path)
    models = imported("models")
    client = imported("client").AuthenticatedClient(
        base_url=stand.url, token=KEYS["flow"], prefix="", auth_header_name="X-API-Key"
    )

    async def ask(operation: str, **arguments: Any) -> Any:
        return await imported(f"api.{operation}").asyncio_detailed(client=client, **arguments)

    # Its connections are of httpx and stay open until the client is left.
    async with client:
        body = models.OrderBody(instrument="EUR_USD", side=models.Side.BUY, type_=models.OrderType.MARKET, units="100")
        placed = await ask("orders.place_order", body=body, idempotency_key="generated-1")
        assert (placed.status_code, placed.parsed.status) == (201, models.OrderStatus.FILLED)
        again = await ask("orders.place_order", body=body, idempotency_key="generated-1")
        assert again.parsed.id == placed.parsed.id

        other = models.OrderBody(instrument="EUR_USD", side=models.Side.BUY, type_=models.OrderType.MARKET, units="200")
        conflict = await ask("orders.place_order", body=other, idempotency_key="generated-1")
        assert (conflict.status_code, conflict.parsed.type_) == (409, "urn:broker:problem:client-order-id-conflict")
        shown = await ask("orders.get_order", order_id=placed.parsed.id)
        assert shown.parsed.filled_units == "100"
        wrong = await ask("orders.place_order", body=models.OrderBody.from_dict({**body.to_dict(), "units": "-1"}))
        assert [fault.field for fault in wrong.parsed.errors] == ["units"]
        positions = await ask("account.list_positions")
        assert [item.units for item in positions.parsed.positions] == ["100"]


def generate(place: Path) -> None:
    configuration = place / "generator.yaml"
    configuration.write_text(json.dumps({"post_hooks": []}))
    subprocess.run(
        [
            str(Path(sys.executable).with_name("openapi-python-client")),
            *("generate", "--path", str(place / "openapi.json"), "--config", str(configuration)),
            *("--meta", "none", "--output-path", str(place / "generated_broker_client"), "--fail-on-warning"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
