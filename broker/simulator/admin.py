"""What a test or a person turns at the simulated venue: faults, clock, tokens, scenario, prices."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from aiohttp import web

from broker.simulator.faults import FaultError, rule
from broker.simulator.instruments import LISTINGS
from broker.simulator.market import Scenario
from broker.simulator.middleware import VENUE, answer
from broker.simulator.requests import InvalidRequestError

routes = web.RouteTableDef()


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        return dict(json.loads(await request.read() or b"{}"))
    except (ValueError, TypeError) as error:
        raise InvalidRequestError("the body is no JSON object") from error


@routes.get("/simulator/state")
async def state(request: web.Request) -> web.Response:
    """Accounts, faults used and the scenario, for a test to look at."""
    venue = request.app[VENUE]
    books = {
        name: {"balance": str(book.balance), "transactions": len(book.log), "pending": len(book.pending())}
        for name, book in venue.accounts.items()
    }
    return answer(
        {
            "accounts": books,
            "scenario": venue.market.scenario,
            "faults_used": venue.faults.used,
            "time_ns": venue.clock.now_ns(),
        }
    )


@routes.post("/simulator/faults")
async def add_faults(request: web.Request) -> web.Response:
    """Adds a rule, or several in `rules`."""
    raw = await _body(request)
    try:
        rules = [rule(item) for item in raw.get("rules", [raw])]
    except FaultError as error:
        return answer({"errorMessage": str(error)}, 400)
    request.app[VENUE].faults.rules.extend(rules)
    return answer({"rules": len(request.app[VENUE].faults.rules)})


@routes.delete("/simulator/faults")
async def clear_faults(request: web.Request) -> web.Response:
    """Ends every rule."""
    request.app[VENUE].faults.rules.clear()
    return answer({"rules": 0})


@routes.post("/simulator/clock")
async def clock(request: web.Request) -> web.Response:
    """Moves the clock by `seconds`, sets its `speed`, and steps the market `steps` times."""
    venue, raw = request.app[VENUE], await _body(request)
    venue.clock.move(float(raw.get("seconds", 0)), raw.get("speed"))
    for _ in range(int(raw.get("steps", 1))):
        venue.step()
    return answer({"time_ns": venue.clock.now_ns()})


@routes.post("/simulator/tokens")
async def tokens(request: web.Request) -> web.Response:
    """Accepts and revokes tokens."""
    venue, raw = request.app[VENUE], await _body(request)
    venue.tokens.update(raw.get("accept", ()))
    venue.tokens.difference_update(raw.get("revoke", ()))
    return answer({"tokens": len(venue.tokens)})


@routes.post("/simulator/scenario")
async def scenario(request: web.Request) -> web.Response:
    """Sets the market's scenario."""
    venue, raw = request.app[VENUE], await _body(request)
    if raw.get("scenario") not in Scenario.__members__.values():
        return answer({"errorMessage": f"scenario must be one of {', '.join(Scenario)}"}, 400)
    venue.market.scenario = Scenario(raw["scenario"])
    venue.step()
    return answer({"scenario": venue.market.scenario})


@routes.post("/simulator/prices")
async def prices(request: web.Request) -> web.Response:
    """Puts an instrument at a mid price; resting orders see it at once."""
    venue, raw = request.app[VENUE], await _body(request)
    if raw.get("instrument") not in LISTINGS:
        return answer({"errorMessage": "instrument is not listed"}, 400)
    price = venue.market.place(raw["instrument"], Decimal(str(raw["mid"])), venue.clock.now_ns())
    venue.apply([price])
    return answer({"bid": str(price.bid), "ask": str(price.ask)})
