"""Orders and commands sent to a simulated venue."""

from __future__ import annotations

from typing import Any

from tests.v20_client import V20Client

ORDER = {"order": {"type": "MARKET", "instrument": "EUR_USD", "units": "100"}}


async def post(client: V20Client, fault: str | None) -> tuple[int, str]:
    headers = {"X-Simulate-Fault": fault} if fault else {}
    url = f"{client.rest_url}/v3/accounts/{client.account}/orders"
    async with client.session.post(url, json=ORDER, headers=headers) as answer:
        return answer.status, await answer.text()


async def command(client: V20Client, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with client.session.request(method, f"{client.rest_url}/simulator/{path}", json=body) as answer:
        return answer.status, await answer.json()
