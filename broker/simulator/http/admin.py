"""Commands of a test or a person to the simulated venue itself, under `/simulator`. No token: keep it on loopback."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from broker.simulator.account.book import AccountBook
from broker.simulator.clock import rfc3339
from broker.simulator.faults import KINDS, FaultError, parse_rule
from broker.simulator.market.market import Scenario
from broker.simulator.venue import SimulatedVenue

FUNDING_REASONS = ("CLIENT_FUNDING", "ACCOUNT_TRANSFER", "DIVISION_MIGRATION", "SITE_MIGRATION", "ADJUSTMENT")
LARGEST_AMOUNT = 10**12
Command = Callable[[SimulatedVenue, dict[str, Any]], dict[str, Any]]


class CommandError(ValueError):
    """A command that cannot be followed; the text names the field and its allowed values."""


def state(venue: SimulatedVenue, _: dict[str, Any]) -> dict[str, Any]:
    """Sum the venue up: for a status line and for tests that count."""
    found: dict[str, Any] = {"time": rfc3339(venue.clock.now_ns()), "speed": venue.clock.speed}
    found |= {"scenario": venue.market.scenario.value, "tokens": len(venue.tokens)}
    found |= {"streams": len(venue.subscriptions), "connections": venue.connections, "requests": len(venue.requests)}
    accounts = {name: _account(book) for name, book in venue.accounts.items()}
    return found | {"faults_used": dict(venue.faults.used), "accounts": accounts}


def _account(book: AccountBook) -> dict[str, Any]:
    # For tests: an order that was sent twice shows in the fills.
    fills = sum(entry["type"] == "ORDER_FILL" for entry in book.log)
    found = {"pendingOrders": len(book.pending()), "openTrades": len(book.open_trades()), "fills": fills}
    return {"balance": str(book.balance), "lastTransactionID": book.last_id, **found}


def requests(venue: SimulatedVenue, _: dict[str, Any]) -> dict[str, Any]:
    """List the last requests, oldest first, with their times by the machine's monotonic clock."""
    return {"requests": [dataclasses.asdict(item) for item in venue.requests]}


def faults(venue: SimulatedVenue, _: dict[str, Any]) -> dict[str, Any]:
    """List the rules in force, the uses of each kind, and the meanings of the kinds."""
    rules = [dataclasses.asdict(item) for item in venue.faults.rules]
    return {"rules": rules, "used": dict(venue.faults.used), "kinds": KINDS}


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


def clear_faults(venue: SimulatedVenue, _: dict[str, Any]) -> dict[str, Any]:
    """Remove every rule."""
    venue.faults.rules.clear()
    return faults(venue, {})


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


def scenario(venue: SimulatedVenue, body: dict[str, Any]) -> dict[str, Any]:
    """Follow `{"scenario": "news", "liquidity": 1000}`: change the market, and the units that trade at once.

    A list of units is a list of price levels, the best first.
    """
    _only(body, "scenario", "liquidity")
    if "scenario" in body:
        if body["scenario"] not in list(Scenario):
            raise CommandError(f"scenario must be one of {', '.join(Scenario)}")
        venue.market.scenario = Scenario(body["scenario"])
    venue.market.liquidity = _liquidity(body, venue.market.liquidity)
    now_ns = venue.clock.now_ns()
    # Every price anew: spread, liquidity and tradeability belong to the scenario.
    venue.apply([venue.market.requote(name, now_ns) for name in venue.market.prices])
    return state(venue, {})


def _liquidity(body: dict[str, Any], before: tuple[int, ...]) -> tuple[int, ...]:
    given = body.get("liquidity", list(before))
    levels = given if isinstance(given, list) else [given]
    if not levels or any(type(units) not in (int, float) or units < 0 or units % 1 != 0 for units in levels):
        raise CommandError("liquidity must be a number of units, or a list of them, one a price level")
    return tuple(int(units) for units in levels)


def prices(venue: SimulatedVenue, body: dict[str, Any]) -> dict[str, Any]:
    """Follow `{"instrument": "EUR_USD", "mid": "1.1"}`: set a price; resting orders see it at once."""
    _only(body, "instrument", "mid")
    if body.get("instrument") not in venue.market.prices:
        raise CommandError("instrument is not listed")
    price = venue.market.place(body["instrument"], _price(body.get("mid")), venue.clock.now_ns())
    venue.apply([price])
    return {"instrument": price.instrument, "bid": str(price.bid), "ask": str(price.ask)}


def account(venue: SimulatedVenue, body: dict[str, Any]) -> dict[str, Any]:
    """Follow `{"transfer": "-20000", "hedging": true, "commission": "50"}`, for `account` or else the first one."""
    _only(body, "account", "transfer", "reason", "hedging", "commission")
    name = body.get("account", venue.options.accounts[0])
    if name not in venue.accounts:
        raise CommandError(f"account must be one of {', '.join(venue.accounts)}")
    book, reason = venue.accounts[name], body.get("reason", FUNDING_REASONS[0])
    if reason not in FUNDING_REASONS:
        raise CommandError(f"reason must be one of {', '.join(FUNDING_REASONS)}")
    if not isinstance(body.get("hedging", False), bool):
        raise CommandError("hedging must be true or false")
    transfer, commission = (_amount(body, field) for field in ("transfer", "commission"))
    if book.balance + transfer < 0:
        raise CommandError(f"transfer must not exceed the balance of {book.balance}")
    if commission < 0:
        raise CommandError("commission must not be negative")
    book.hedging_enabled = body.get("hedging", book.hedging_enabled)
    book.commission_per_million = commission if "commission" in body else book.commission_per_million
    if transfer:
        book.transfer(transfer, reason, venue.clock.now_ns())
        venue.publish(book)
    return state(venue, {})


def _amount(body: dict[str, Any], name: str) -> Decimal:
    try:
        amount = Decimal(str(body.get(name, 0)))
    except InvalidOperation:
        raise CommandError(f"{name} must be an amount, for example 20000") from None
    if not amount.is_finite() or abs(amount) > LARGEST_AMOUNT:
        raise CommandError(f"{name} must be an amount up to {LARGEST_AMOUNT}")
    return amount


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


COMMANDS: dict[str, Command] = {
    "GET /simulator/state": state,
    "GET /simulator/requests": requests,
    "GET /simulator/faults": faults,
    "POST /simulator/faults": add_faults,
    "DELETE /simulator/faults": clear_faults,
    "POST /simulator/clock": clock,
    "POST /simulator/tokens": tokens,
    "POST /simulator/scenario": scenario,
    "POST /simulator/prices": prices,
    "POST /simulator/account": account,
}


def handler(venue: SimulatedVenue, command: Command) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Make an endpoint for aiohttp; it answers 400 with a sentence to a command that cannot be followed."""

    async def handle(request: web.Request) -> web.Response:
        try:
            body = json.loads(await request.read() or b"{}")
            if isinstance(body, dict):
                return web.json_response(command(venue, body))
            words = "the body must be a JSON object"
        except CommandError as error:
            words = str(error)
        except json.JSONDecodeError as error:
            words = f"the body is not JSON: {error}"
        return web.json_response({"errorMessage": words}, status=400)

    return handle
