"""The order API as an ASGI application."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException

from broker.api.context import Surface
from broker.api.forwarding.standby import Answered, answer_answered
from broker.api.http import documentation
from broker.api.http.error_handlers import KINDS, answer_part
from broker.api.http.middleware import Envelope
from broker.api.http.openapi import Described
from broker.api.http.problem import Problem, answer_http, answer_problem, answer_validation
from broker.api.routes import account, admin, events, history, orders

DESCRIPTION = """Places FX and CFD orders at OANDA, each once.

Send an API key in `X-API-Key`, and an `Idempotency-Key` (or `client_order_id`) with every order: then a retry is
safe.
Numbers are decimal texts, times are RFC 3339 in UTC. Errors are `application/problem+json` (RFC 9457); a 503 says in
`Retry-After` when to try again, and nothing was sent to the venue.
"""
VERSION = "1.0.0"


# What a request did is told by our own events, which cost less and survive a kill.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def _operation_id(route: APIRoute) -> str:
    """The name that generated clients give the operation."""
    return route.name if "history" not in route.tags else route.name.replace("list_", "list_past_")


def build_application(surface: Surface, *further: Surface) -> FastAPI:
    """The application on its parts, of one account or of several."""
    application = Described(
        title="Broker order API",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        generate_unique_id_function=_operation_id,
        telemetry=_NO_TELEMETRY,
    )
    application.state.surfaces = {item.account: item for item in (surface, *further)}
    for part in (orders, account, events, history, admin, documentation):
        application.include_router(part.routes)
    application.add_exception_handler(Problem, answer_problem)
    application.add_exception_handler(Answered, answer_answered)
    application.add_exception_handler(RequestValidationError, answer_validation)
    application.add_exception_handler(HTTPException, answer_http)
    for kind in KINDS:
        application.add_exception_handler(kind, answer_part)
    application.add_middleware(
        Envelope,
        request_bytes=surface.settings.request_bytes,
        deadline_s=surface.settings.deadline_s,
        emit=surface.emit,
    )
    return application
