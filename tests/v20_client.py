"""A bare client of v20 for tests: each answer that the description knows is checked against it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests import v20_schema

ACCOUNT = "101-004-1234567-001"
TEMPLATES = (
    "/accounts",
    "/accounts/{accountID}",
    "/accounts/{accountID}/summary",
    "/accounts/{accountID}/instruments",
    "/accounts/{accountID}/configuration",
    "/accounts/{accountID}/changes",
    "/accounts/{accountID}/orders",
    "/accounts/{accountID}/pendingOrders",
    "/accounts/{accountID}/orders/{orderSpecifier}",
    "/accounts/{accountID}/orders/{orderSpecifier}/cancel",
    "/accounts/{accountID}/orders/{orderSpecifier}/clientExtensions",
    "/accounts/{accountID}/trades",
    "/accounts/{accountID}/openTrades",
    "/accounts/{accountID}/trades/{tradeSpecifier}",
    "/accounts/{accountID}/trades/{tradeSpecifier}/close",
    "/accounts/{accountID}/trades/{tradeSpecifier}/clientExtensions",
    "/accounts/{accountID}/trades/{tradeSpecifier}/orders",
    "/accounts/{accountID}/positions",
    "/accounts/{accountID}/openPositions",
    "/accounts/{accountID}/positions/{instrument}",
    "/accounts/{accountID}/positions/{instrument}/close",
    "/accounts/{accountID}/pricing",
    "/accounts/{accountID}/transactions",
    "/accounts/{accountID}/transactions/idrange",
    "/accounts/{accountID}/transactions/sinceid",
    "/accounts/{accountID}/transactions/{transactionID}",
    "/instruments/{instrument}/candles",
    "/instruments/{instrument}/orderBook",
    "/instruments/{instrument}/positionBook",
)
_PATTERNS = [(template, re.compile(re.sub(r"\{[^}]*\}", "[^/]+", template) + "$")) for template in TEMPLATES]
_DESCRIBED = frozenset({200, 201, 400, 401, 403, 404, 405, 416})


def template(path: str) -> str | None:
    """The description's path for a path below /v3."""
    return next((name for name, pattern in _PATTERNS if pattern.match(path.partition("?")[0])), None)


@dataclass(slots=True)
class V20Client:
    """Requests to one venue as one account. `faults` collects what answers broke of the description."""

    rest_url: str
    token: str
    account: str = ACCOUNT
    faults: list[str] = field(default_factory=list)
    session: aiohttp.ClientSession = field(init=False)

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.token}"})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        assert not self.faults, "\n".join(dict.fromkeys(self.faults))

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The answer's JSON; `path` is below the account, or below /v3 where it begins with `/v3`."""
        inner = path.removeprefix("/v3") if path.startswith("/v3") else f"/accounts/{self.account}{path}"
        async with self.session.request(
            method, f"{self.rest_url}/v3{inner}", json=body, headers=headers or {}
        ) as answer:
            text = await answer.text()
            assert status is None or answer.status == status, f"{method} {path}: {answer.status} {text}"
            assert answer.headers.get("RequestID"), f"{method} {path} has no RequestID"
            found = json.loads(text)
            self._check(method, inner, answer.status, found)
            return found

    async def get(self, path: str, *, status: int = 200, headers: dict[str, str] | None = None) -> Any:
        """GET."""
        return await self.call("GET", path, status=status, headers=headers)

    async def put(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        """PUT."""
        return await self.call("PUT", path, body, status=status)

    async def order(self, *, status: int = 201, headers: dict[str, str] | None = None, **fields: Any) -> Any:
        """Creates an order: EUR_USD at the market, unless `fields` say otherwise."""
        order = {"type": "MARKET", "instrument": "EUR_USD", "units": "100", **fields}
        return await self.call("POST", "/orders", {"order": order}, status=status, headers=headers)

    async def log(self, after: int = 0) -> list[dict[str, Any]]:
        """The account's transactions behind `after`."""
        return list((await self.get(f"/transactions/sinceid?id={after}"))["transactions"])

    def _check(self, method: str, path: str, status: int, body: Any) -> None:
        name = template(path)
        if name is not None and status in _DESCRIBED:
            found = v20_schema.faults(method, name, status, body)
            self.faults += [f"{method} {name} {status} {fault}" for fault in found]
