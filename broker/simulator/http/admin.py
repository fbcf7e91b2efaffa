"""What a test or a person may do to the simulated venue itself, under `/simulator`. No token: keep it on loopback."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from broker.simulator.clock import rfc3339
from broker.simulator.faults import KINDS, FaultError, rule
from broker.simulator.market.market import Scenario
from broker.simulator.venue import Venue

Act = Callable[[Venue, dict[str, Any]], dict[str, Any]]


class CommandError(ValueError):
    """A command that cannot be followed; the text names the field and what it may be."""


def state(venue: Venue, _: dict[str, Any]) -> dict[str, Any]:
    """The venue in short: for a status line and for tests that count."""
    return {
        "time": rfc3339(venue.clock.now_ns()),
        "speed": venue.clock.speed,
        "scenario": venue.market.scenario.value,
        "tokens": len(venue.tokens),
        "streams": len(venue.subscriptions),
        "connections": venue.connections,
        "requests": len(venue.requests),
        "faults_used": dict(venue.faults.used),
        "accounts": {name: _account(venue, name) for name in venue.accounts},
    }


def _account(venue: Venue, name: str) -> dict[str, Any]:
    book = venue.accounts[name]
    return {
        "balance": str(book.balance),
        "lastTransactionID": book.last_id,
        "pendingOrders": len(book.pending()),
        "openTrades": len(book.open_trades()),
        "fills": sum(entry["type"] == "ORDER_FILL" for entry in book.log),
    }


def requests(venue: Venue, _: dict[str, Any]) -> dict[str, Any]:
    """The last requests, oldest first: when (the machine's monotonic ns), what, how it was answered."""
    return {"requests": [dataclasses.asdict(item) for item in venue.requests]}


def faults(venue: Venue, _: dict[str, Any]) -> dict[str, Any]:
    """Rules in force, how often each kind was used, and what the kinds mean."""
    rules = [dataclasses.asdict(item) for item in venue.faults.rules]
    return {"rules": rules, "used": dict(venue.faults.used), "kinds": KINDS}


def add_faults(venue: Venue, body: dict[str, Any]) -> dict[str, Any]:
    """`{"kind": "reset_after", "path": "/orders", "count": 1, …}`, or a list of such under `rules`."""
    raw = body.get("rules", [body])
    try:
        made = [rule(item) for item in raw]
    except (FaultError, TypeError) as error:
        raise CommandError(str(error)) from error
    venue.faults.rules += made
    for subscription in venue.subscriptions:
        subscription.wake.set()
    return faults(venue, {})


def clear_faults(venue: Venue, _: dict[str, Any]) -> dict[str, Any]:
    """Ends every rule."""
    venue.faults.rules.clear()
    return faults(venue, {})


def clock(venue: Venue, body: dict[str, Any]) -> dict[str, Any]:
    """`{"seconds": 3600, "speed": 60, "steps": 1}`: jumps, sets the speed, then moves the prices."""
    _only(body, "seconds", "speed", "steps")
    seconds, speed = _number(body, "seconds", 0.0), _number(body, "speed", venue.clock.speed)
    if seconds < 0 or speed <= 0:
        raise CommandError("seconds must not be negative, speed must be above 0: time does not run backwards")
    venue.clock.move(seconds, speed)
    for _ in range(int(_number(body, "steps", 1))):
        venue.step()
    return state(venue, {})


def tokens(venue: Venue, body: dict[str, Any]) -> dict[str, Any]:
    """`{"accept": ["…"], "revoke": ["…"], "cut_streams": true}`: what authorizes from the next request on."""
    _only(body, "accept", "revoke", "cut_streams")
    for key in ("accept", "revoke"):
        if not all(isinstance(item, str) and item for item in body.get(key, [])):
            raise CommandError(f"{key} must be a list of texts")
    venue.tokens |= set(body.get("accept", []))
    venue.tokens -= set(body.get("revoke", []))
    for subscription in list(venue.subscriptions) if body.get("cut_streams") else ():
        subscription.end()
    return state(venue, {})


def scenario(venue: Venue, body: dict[str, Any]) -> dict[str, Any]:
    """`{"scenario": "news", "liquidity": 1000}`: how the market behaves, and what trades at once."""
    _only(body, "scenario", "liquidity")
    if "scenario" in body:
        if body["scenario"] not in list(Scenario):
            raise CommandError(f"scenario must be one of {', '.join(Scenario)}")
        venue.market.scenario = Scenario(body["scenario"])
    venue.market.liquidity = int(_number(body, "liquidity", venue.market.liquidity))
    now_ns = venue.clock.now_ns()
    venue.apply([venue.market.requote(name, now_ns) for name in venue.market.prices])
    return state(venue, {})


def prices(venue: Venue, body: dict[str, Any]) -> dict[str, Any]:
    """`{"instrument": "EUR_USD", "mid": "1.1"}`: puts a price; resting orders see it at once."""
    _only(body, "instrument", "mid")
    if body.get("instrument") not in venue.market.prices:
        raise CommandError("instrument is not listed")
    price = venue.market.place(body["instrument"], _price(body.get("mid")), venue.clock.now_ns())
    venue.apply([price])
    return {"instrument": price.instrument, "bid": str(price.bid), "ask": str(price.ask)}


def _only(body: dict[str, Any], *names: str) -> None:
    if unknown := set(body) - set(names):
        raise CommandError(f"{', '.join(sorted(unknown))}: not known here; the fields are {', '.join(names)}")


def _number(body: dict[str, Any], name: str, default: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CommandError(f"{name} must be a number")
    return value


def _price(value: Any) -> Decimal:
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        raise CommandError("mid must be a price, for example 1.085") from None
    if not price.is_finite() or price <= 0:
        raise CommandError("mid must be above 0")
    return price


def _object(data: bytes) -> dict[str, Any]:
    body = json.loads(data or b"{}")
    if not isinstance(body, dict):
        raise CommandError("the body must be a JSON object")
    return body


ACTS: tuple[tuple[str, str, Act], ...] = (
    ("GET", "/simulator/state", state),
    ("GET", "/simulator/requests", requests),
    ("GET", "/simulator/faults", faults),
    ("POST", "/simulator/faults", add_faults),
    ("DELETE", "/simulator/faults", clear_faults),
    ("POST", "/simulator/clock", clock),
    ("POST", "/simulator/tokens", tokens),
    ("POST", "/simulator/scenario", scenario),
    ("POST", "/simulator/prices", prices),
)


def handler(venue: Venue, act: Act) -> Callable[[web.Request], Awaitable[web.Response]]:
    """An endpoint for aiohttp: 400 with a sentence for what cannot be followed."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(act(venue, _object(await request.read())))
        except CommandError as error:
            return web.json_response({"errorMessage": str(error)}, status=400)
        except json.JSONDecodeError as error:
            return web.json_response({"errorMessage": f"the body is not JSON: {error}"}, status=400)

    return handle
