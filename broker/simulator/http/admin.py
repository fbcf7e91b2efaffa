"""Commands of a test or a person to the simulated venue itself, under `/simulator`. No token: keep it on loopback."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from broker.simulator.clock import rfc3339
from broker.simulator.faults import KINDS, FaultError, parse_rule
from broker.simulator.market.market import Scenario
from broker.simulator.venue import SimulatedVenue

Command = Callable[[SimulatedVenue, dict[str, Any]], dict[str, Any]]
COMMANDS: list[tuple[str, str, Command]] = []
"""Method, path and function; filled by the decorators below."""


class CommandError(ValueError):
    """A command that cannot be followed; the text names the field and its allowed values."""


def _command(method: str, path: str) -> Callable[[Command], Command]:
    def register(command: Command) -> Command:
        COMMANDS.append((method, path, command))
        return command

    return register


@_command("GET", "/simulator/state")
def state(venue: SimulatedVenue, _: dict[str, Any]) -> dict[str, Any]:
    """Sum the venue up: for a status line and for tests that count."""
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


def _account(venue: SimulatedVenue, name: str) -> dict[str, Any]:
    book = venue.accounts[name]
    return {
        "balance": str(book.balance),
        "lastTransactionID": book.last_id,
        "pendingOrders": len(book.pending()),
        "openTrades": len(book.open_trades()),
        # For tests: an order that was sent twice shows here.
        "fills": sum(entry["type"] == "ORDER_FILL" for entry in book.log),
    }


@_command("GET", "/simulator/requests")
def requests(venue: SimulatedVenue, _: dict[str, Any]) -> dict[str, Any]:
    """List the last requests, oldest first, with their times by the machine's monotonic clock."""
    return {"requests": [dataclasses.asdict(item) for item in venue.requests]}


@_command("GET", "/simulator/faults")
def faults(venue: SimulatedVenue, _: dict[str, Any]) -> dict[str, Any]:
    """List the rules in force, the uses of each kind, and the meanings of the kinds."""
    rules = [dataclasses.asdict(item) for item in venue.faults.rules]
    return {"rules": rules, "used": dict(venue.faults.used), "kinds": KINDS}


@_command("POST", "/simulator/faults")
def add_faults(venue: SimulatedVenue, body: dict[str, Any]) -> dict[str, Any]:
    """Add `{"kind": "reset_after", "path": "/orders", "count": 1, …}`, or a list of such under `rules`."""
    raw = body.get("rules", [body])
    try:
        made = [parse_rule(item) for item in raw]
    except (FaultError, TypeError) as error:
        raise CommandError(str(error)) from error
    venue.faults.rules += made
    for subscription in venue.subscriptions:
        # A stream looks for faults when it wakes: one that waits for its heartbeat shows them at once.
        subscription.wake.set()
    return faults(venue, {})


@_command("DELETE", "/simulator/faults")
def clear_faults(venue: SimulatedVenue, _: dict[str, Any]) -> dict[str, Any]:
    """Remove every rule."""
    venue.faults.rules.clear()
    return faults(venue, {})


@_command("POST", "/simulator/clock")
def clock(venue: SimulatedVenue, body: dict[str, Any]) -> dict[str, Any]:
    """Follow `{"seconds": 3600, "speed": 60, "steps": 1}`: jump, set the speed, then move the prices."""
    _only(body, "seconds", "speed", "steps")
    seconds, speed = _number(body, "seconds", 0.0), _number(body, "speed", venue.clock.speed)
    if seconds < 0 or speed <= 0:
        raise CommandError("seconds must not be negative, speed must be above 0: time does not run backwards")
    # The jump first: the steps behind it expire orders and charge financing by the new time.
    venue.clock.move(seconds, speed)
    for _ in range(int(_number(body, "steps", 1))):
        venue.step()
    return state(venue, {})


@_command("POST", "/simulator/tokens")
def tokens(venue: SimulatedVenue, body: dict[str, Any]) -> dict[str, Any]:
    """Follow `{"accept": ["…"], "revoke": ["…"], "cut_streams": true}`; tokens change from the next request on."""
    _only(body, "accept", "revoke", "cut_streams")
    for key in ("accept", "revoke"):
        if not all(isinstance(item, str) and item for item in body.get(key, [])):
            raise CommandError(f"{key} must be a list of texts")
    venue.tokens |= set(body.get("accept", []))
    venue.tokens -= set(body.get("revoke", []))
    for subscription in list(venue.subscriptions) if body.get("cut_streams") else ():
        subscription.end()
    return state(venue, {})


@_command("POST", "/simulator/scenario")
def scenario(venue: SimulatedVenue, body: dict[str, Any]) -> dict[str, Any]:
    """Follow `{"scenario": "news", "liquidity": 1000}`: change the market, and the units that trade at once."""
    _only(body, "scenario", "liquidity")
    if "scenario" in body:
        if body["scenario"] not in list(Scenario):
            raise CommandError(f"scenario must be one of {', '.join(Scenario)}")
        venue.market.scenario = Scenario(body["scenario"])
    venue.market.liquidity = int(_number(body, "liquidity", venue.market.liquidity))
    now_ns = venue.clock.now_ns()
    # Every price anew: spread, liquidity and tradeability belong to the scenario.
    venue.apply([venue.market.requote(name, now_ns) for name in venue.market.prices])
    return state(venue, {})


@_command("POST", "/simulator/prices")
def prices(venue: SimulatedVenue, body: dict[str, Any]) -> dict[str, Any]:
    """Follow `{"instrument": "EUR_USD", "mid": "1.1"}`: set a price; resting orders see it at once."""
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


def handler(venue: SimulatedVenue, command: Command) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Make an endpoint for aiohttp; it answers 400 with a sentence to a command that cannot be followed."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(command(venue, _object(await request.read())))
        except CommandError as error:
            return web.json_response({"errorMessage": str(error)}, status=400)
        except json.JSONDecodeError as error:
            return web.json_response({"errorMessage": f"the body is not JSON: {error}"}, status=400)

    return handle
