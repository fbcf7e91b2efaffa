"""The order API as an ASGI application.

The walk of an order: `http.protocol` (bounds of what a peer may send) -> `http.middleware` (deadline, size) ->
`auth.key_check` (key) -> `auth.access` (scope, quota) -> `forwarding.standby` (the owner, if that is another broker)
-> `routes.orders` -> `broker.orders.service`. A usual new order takes a short way around the middle,
`routes.order_entrance`. An exception on the way becomes an answer in `http.error_handlers`.
"""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig

from broker.api.auth.key_check import KeyCheck
from broker.api.context import ApiContext
from broker.api.http import documentation
from broker.api.http.error_handlers import add_error_handlers
from broker.api.http.middleware import ApiMiddleware
from broker.api.routes import account, admin, events, history, market, mass_actions, orders, trades
from broker.api.routes.order_entrance import OrderEntrance
from broker.api.ui import page

DESCRIPTION = """Places FX and CFD orders at OANDA, each once.

Send an API key in `X-API-Key`, and an `Idempotency-Key` (or `client_order_id`) with every order: then a retry is
safe.
Numbers are decimal texts, times are RFC 3339 in UTC. Errors are `application/problem+json` (RFC 9457); a 503 says in
`Retry-After` when to try again, and nothing was sent to the venue.
"""
API_VERSION = "1.0.0"
"""Of the contract with callers: it changes with routes and fields, not with releases of the program."""


# Our own events tell about each request: they cost less, and survive a kill.
_NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False)


def _operation_id(route: APIRoute) -> str:
    """The name that generated clients give the operation."""
    return route.name if "history" not in route.tags else route.name.replace("list_", "list_past_")


def build_application(context: ApiContext) -> FastAPI:
    """The application on its context, which handlers find as `app.state.context`."""
    application = documentation.DocumentedApi(
        title="Broker order API",
        version=API_VERSION,
        description=DESCRIPTION,
        docs_url=None,  # FastAPI's page loads its scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        generate_unique_id_function=_operation_id,
        telemetry=_NO_TELEMETRY,
    )
    application.state.context = context
    for module in (mass_actions, orders, trades, account, market, events, history, admin, documentation, page):
        application.include_router(module.routes)
    add_error_handlers(application)
    application.add_middleware(OrderEntrance, context=context)
    application.add_middleware(KeyCheck, context=context)
    application.add_middleware(ApiMiddleware, context=context)  # the last one is the outermost
    return application
