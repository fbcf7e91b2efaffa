"""A small v20 server for the service's tests: fills market orders, rests the others, and fails as it is told."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

ACCOUNT = "101-004-1234567-001"
PRICE = "1.10000"
KINDS = {"takeProfit": "TAKE_PROFIT", "stopLoss": "STOP_LOSS", "trailingStopLoss": "TRAILING_STOP_LOSS"}


class FakeVenue:
    """State of the account, and what the next writes do: `faults` is taken from one at each write."""

    def __init__(self) -> None:
        self.log: list[dict[str, Any]] = []
        self.pending: dict[str, dict[str, Any]] = {}
        self.position = Decimal(0)
        self.writes: list[tuple[str, str, Any]] = []
        self.faults: deque[str] = deque()
        self.broken: set[str] = set()
        """Ids of orders, names of instruments: writes to them never arrive."""
        self.token = "good-token"
        self.hidden = 0
        """So many of the newest transactions are not shown by `sinceid` yet."""
        self.page = 0
        """Most transactions of one answer of `sinceid`; 0 for all."""
        self.forgotten = 0
        """So many of the oldest transactions are not shown by `sinceid` any more."""
        self.handed_on: dict[str, str] = {}
        """Fields that a trade's order hands on to the one that takes its place."""
        self.withheld_from = 0
        """From this call on `sinceid` refuses every id, counted from 1; 0 never does."""
        self.since_calls = 0
        self.tradeable = True
        self.nav = "1000.0000"
        self.hedging = False
        self.streams: dict[web.StreamResponse, web.Request] = {}
        self.stream_requests: list[web.Request] = []
        self.arrived = asyncio.Event()
        self.url = ""
        self.gate = asyncio.Event()
        self.gate.set()

    def add(self, kind: str, **fields: Any) -> dict[str, Any]:
        item = {"id": str(len(self.log) + 1), "type": kind, "time": _now(), "accountID": ACCOUNT, **fields}
        self.log.append(item)
        return item

    async def push(self, *items: dict[str, Any]) -> None:
        for item in items:
            for stream in list(self.streams):
                await stream.write(json.dumps(item).encode() + b"\n")

    def cut(self, stream: web.StreamResponse) -> None:
        transport = self.streams.pop(stream).transport
        if transport is not None:
            transport.abort()

    def tokens_of_streams(self, token: str) -> list[web.Request]:
        return [item for item in self.stream_requests if item.headers["Authorization"] == f"Bearer {token}"]

    def make(self, order: dict[str, Any]) -> dict[str, Any]:
        kind = order["type"]
        created = self.add(f"{kind}_ORDER", **{key: value for key, value in order.items() if key != "type"})
        body: dict[str, Any] = {"orderCreateTransaction": created}
        if kind != "MARKET":
            self.pending[created["id"]] = created
        elif order.get("units") == "13":
            body["orderCancelTransaction"] = self.cancel(created, "INSUFFICIENT_MARGIN")
        else:
            body["orderFillTransaction"] = self.fill(created)
        return body

    def fill(self, created: dict[str, Any]) -> dict[str, Any]:
        self.pending.pop(created["id"], None)
        self.position += Decimal(created["units"])
        return self.add(
            "ORDER_FILL",
            orderID=created["id"],
            clientOrderID=created.get("clientExtensions", {}).get("id"),
            instrument=created["instrument"],
            units=created["units"],
            price=PRICE,
            pl="0.0000",
            halfSpreadCost="0.0100",
            accountBalance="1000.0000",
            tradeOpened={"tradeID": created["id"], "units": created["units"]},
        )

    def cancel(self, created: dict[str, Any], reason: str) -> dict[str, Any]:
        self.pending.pop(created["id"], None)
        client_id = created.get("clientExtensions", {}).get("id")
        return self.add("ORDER_CANCEL", orderID=created["id"], clientOrderID=client_id, reason=reason)

    @property
    def fills(self) -> list[dict[str, Any]]:
        return [item for item in self.log if item["type"] == "ORDER_FILL"]

    def _answer(self, body: dict[str, Any], status: int = 200) -> web.Response:
        return web.json_response(body | {"lastTransactionID": str(len(self.log))}, status=status)

    async def write(self, request: web.Request) -> web.StreamResponse:
        """Do what has arrived, whether the caller waits or not."""
        return await asyncio.shield(self._write(request))

    async def _write(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911 - one return a fault
        body = await request.json() if request.can_read_body else None
        self.writes.append((request.method, request.path, body))
        self.arrived.set()
        await self.gate.wait()
        fault = self.faults.popleft() if self.faults else ""
        if fault == "429":
            return web.json_response({"errorMessage": "slow down"}, status=429, headers={"Retry-After": "0.01"})
        if fault == "401":
            return web.json_response({"errorMessage": "Insufficient authorization to perform request."}, status=401)
        if fault == "wall":
            return web.Response(status=403, text="<html>forbidden</html>", content_type="text/html")
        if fault == "drop" or request.match_info.get("id") in self.broken:
            return self._cut(request)
        mark = len(self.log)
        answer = self._act(request, body)
        if fault == "quiet":
            self.hidden = len(self.log) - mark
        if fault == "told_and_lost":
            await self.push(*self.log[mark:])
        if fault in {"lose", "quiet", "told_and_lost"}:
            return self._cut(request)
        if fault == "504":
            return web.Response(status=504, text="<html>Gateway time-out</html>", content_type="text/html")
        if fault == "unseen":
            self.log = self.log[:mark]
            return web.Response(status=502, text="<html></html>", content_type="text/html")
        await self.push(*self.log[mark:])
        return answer

    def _cut(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    def _act(self, request: web.Request, body: Any) -> web.Response:  # noqa: PLR0911 - one return an endpoint
        path = request.path
        if path.endswith("/cancel"):
            created = self.pending.get(request.match_info["id"])
            if created is None:
                return self._answer({"errorCode": "ORDER_DOESNT_EXIST", "errorMessage": "no such order"}, 404)
            return self._answer({"orderCancelTransaction": self.cancel(created, "CLIENT_REQUEST")})
        if "/positions/" in path:
            units, client = self.position, body.get("longClientExtensions") or body.get("shortClientExtensions")
            order = {"type": "MARKET", "instrument": request.match_info["id"], "units": str(-units)}
            side = "long" if units > 0 else "short"
            closeout = {"instrument": request.match_info["id"], "units": body.get(f"{side}Units")}
            made = self.make(order | {"clientExtensions": client, f"{side}PositionCloseout": closeout})
            return self._answer({f"{side}O{key[1:]}": value for key, value in made.items()})
        if path.endswith("/clientExtensions"):
            return self._answer({"clientExtensionsModifyTransaction": self.add("CLIENT_EXTENSIONS_MODIFY", **body)})
        if path.endswith("/orders") and "/trades/" in path:
            return self._answer(self._protect(request.match_info["id"], body))
        if "/trades/" in path:
            trade = request.match_info["id"]
            closed = self.position if body["units"] == "ALL" else Decimal(body["units"])
            order = {"type": "MARKET", "instrument": "EUR_USD", "units": str(-closed)}
            return self._answer(self.make(order | {"tradeClose": {"tradeID": trade, "units": body["units"]}}))
        if request.method == "PUT":
            old = self.pending.get(request.match_info["id"])
            if old is None:
                return self._answer({"errorCode": "ORDER_DOESNT_EXIST", "errorMessage": "no such order"}, 404)
            ended = self.cancel(old, "CLIENT_REQUEST_REPLACED")
            return self._answer(
                {"orderCancelTransaction": ended} | self.make(body["order"] | {"replacesOrderID": old["id"]}), 201
            )
        if body["order"].get("units") == "666":
            asked = {name: value for name, value in body["order"].items() if name != "type"}
            refusal = self.add("MARKET_ORDER_REJECT", rejectReason="UNITS_LIMIT_EXCEEDED", **asked)
            reason = {"errorCode": "UNITS_LIMIT_EXCEEDED", "errorMessage": "too many units"}
            return self._answer({"orderRejectTransaction": refusal} | reason, 400)
        return self._answer(self.make(body["order"]), 201)

    def _protect(self, trade: str, body: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for leg, details in body.items():
            kind = KINDS[leg]
            for old in [item for item in self.pending.values() if item["type"] == f"{kind}_ORDER"]:
                found[f"{leg}OrderCancelTransaction"] = self.cancel(old, "CLIENT_REQUEST_REPLACED")
            made = self.make({"type": kind, "tradeID": trade, **self.handed_on, **details})
            found[f"{leg}OrderTransaction"] = made["orderCreateTransaction"]
        return found

    async def read(self, request: web.Request) -> web.StreamResponse:
        if request.headers["Authorization"] != f"Bearer {self.token}":
            return web.json_response({"errorMessage": "Insufficient authorization to perform request."}, status=401)
        path = request.match_info["path"]
        if path == "transactions/sinceid":
            self.since_calls += 1
            if self.withheld_from and self.since_calls >= self.withheld_from:
                return self._answer({"errorMessage": "Invalid value specified for 'id'"}, 400)
            shown = self.log[: len(self.log) - self.hidden]
            self.hidden = 0
            shown = shown[: max(int(request.query["id"]), self.forgotten) + self.page] if self.page else shown
            items = [item for item in shown if int(item["id"]) > max(int(request.query["id"]), self.forgotten)]
            return web.json_response({"transactions": items, "lastTransactionID": str(len(shown))})
        if path.startswith("transactions/") and path.removeprefix("transactions/").isdecimal():
            found = [item for item in self.log if item["id"] == path.removeprefix("transactions/")]
            return self._answer({"transaction": found[0]} if found else {}, 200 if found else 404)
        if path.endswith("/stream"):
            return await self._stream(request, path)
        return self._answer(self._page(path))

    def _item(self, kind: str, number: str) -> dict[str, Any]:
        found = self.log[int(number) - 1]
        if kind == "transactions":
            return {"transaction": found}
        own = [] if number in self.pending else self.log
        ended = {item["type"]: item["id"] for item in own if item.get("orderID") == number}
        names = {"ORDER_FILL": "fillingTransactionID", "ORDER_CANCEL": "cancellingTransactionID"}
        return {"order": {"id": number, **{names[key]: value for key, value in ended.items()}}}

    def _page(self, path: str) -> dict[str, Any]:
        kind, _, number = path.partition("/")
        if number.isdecimal():
            return self._item(kind, number)
        names = ("balance", "NAV", "marginUsed", "marginAvailable")
        open_side = {"units": str(self.position), "averagePrice": PRICE}
        flat = {"units": "0"}
        long = self.position > 0
        position = {"instrument": "EUR_USD", "long": open_side if long else flat, "short": flat if long else open_side}
        trade = {"id": "1", "instrument": "EUR_USD", "currentUnits": str(self.position), "price": PRICE}
        for leg, kind in KINDS.items():
            for item in self.pending.values():
                if item["type"] == f"{kind}_ORDER":
                    trade[f"{leg}Order"] = item | {"type": kind}  # type: ignore[assignment] # one is an object
        pages: dict[str, dict[str, Any]] = {
            "summary": {
                "account": {
                    "id": ACCOUNT,
                    "currency": "USD",
                    **dict.fromkeys(names, "1000.0000"),
                    "NAV": self.nav,
                    "hedgingEnabled": self.hedging,
                    "pendingOrderCount": len(self.pending),
                    "openTradeCount": 0,
                    "openPositionCount": 0,
                }
            },
            "instruments": {
                "instruments": [
                    {
                        "name": "EUR_USD",
                        "displayPrecision": 5,
                        "tradeUnitsPrecision": 0,
                        "pipLocation": -4,
                        "minimumTradeSize": "1",
                        "maximumOrderUnits": "100000000",
                        "marginRate": "0.03",
                        "type": "CURRENCY",
                    }
                ]
            },
            "pendingOrders": {
                "orders": [item | {"type": item["type"].removesuffix("_ORDER")} for item in self.pending.values()]
            },
            "openPositions": {"positions": [position] if self.position else []},
            "trades/1": {"trade": trade},
            "openTrades": {"trades": [trade] if self.position else []},
            "pricing": {"prices": [self.price()]},
        }
        return pages[path]

    def price(self) -> dict[str, Any]:
        return {
            "type": "PRICE",
            "instrument": "EUR_USD",
            "time": _now(),
            "tradeable": self.tradeable,
            "bids": [{"price": "1.09990", "liquidity": 1000000}],
            "asks": [{"price": "1.10010", "liquidity": 1000000}],
            "quoteHomeConversionFactors": {"positiveUnits": "1", "negativeUnits": "1"},
        }

    async def _stream(self, request: web.Request, path: str) -> web.StreamResponse:
        self.stream_requests.append(request)
        stream = web.StreamResponse()
        await stream.prepare(request)
        if path.startswith("pricing"):
            await stream.write(json.dumps(self.price()).encode() + b"\n")
        else:
            self.streams[stream] = request
        try:
            while True:
                await asyncio.sleep(0.05)
                beat = {"type": "HEARTBEAT", "time": _now(), "lastTransactionID": str(len(self.log))}
                await stream.write(json.dumps(beat).encode() + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            return stream
        finally:
            self.streams.pop(stream, None)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


@asynccontextmanager
async def serving(venue: FakeVenue) -> AsyncIterator[FakeVenue]:
    app = web.Application()
    base = f"/v3/accounts/{ACCOUNT}"
    app.router.add_post(f"{base}/orders", venue.write)
    app.router.add_put(base + "/orders/{id}/cancel", venue.write)
    app.router.add_put(base + "/orders/{id}", venue.write)
    app.router.add_put(base + "/positions/{id}/close", venue.write)
    app.router.add_put(base + "/trades/{id}/close", venue.write)
    app.router.add_put(base + "/trades/{id}/orders", venue.write)
    app.router.add_put(base + "/{kind}/{id}/clientExtensions", venue.write)
    app.router.add_get(base + "/{path:.*}", venue.read)
    server = TestServer(app)
    await server.start_server(shutdown_timeout=0.1)
    venue.url = str(server.make_url("")).rstrip("/")
    try:
        yield venue
    finally:
        await server.close()
