"""The short way of `POST /v1/orders`: the usual request goes straight to `routes.orders.place`.

Theory
    FastAPI matches a route, opens two exit stacks and solves seventeen dependencies for every request. That is right
    for a request a minute, and it is more than half of what an order costs the process (docs/decisions/0019). An order
    that is asked for in the usual form needs none of it.

Rule
    The short way only ever says yes. It looks at a request without an effect and takes it if nothing about it is
    unusual; anything else, a fault above all, goes the long way from its first byte. So there is one place that words
    errors, FastAPI, and a field that a later version adds to `OrderBody` needs no change here: the same model reads
    the body. The two ways must agree on what is taken; a property test sends bodies and headers both ways.

Order of the looks
    account, drain, readiness, headers, the key's scope, body, and last the key's quota, which is an effect: a request
    beyond it is not counted, and the long way refuses it. No look awaits anything but the body's bytes, which the long
    way gets again.

Beside it
    `http.middleware` stays around both: deadline, size limit, trace and measurement are the same.
"""

from __future__ import annotations

import re
from time import monotonic

from fastapi import Request
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.api.context import ApiContext
from broker.api.http.error_handlers import KNOWN_ERRORS, answer
from broker.api.http.json_body import decode_json
from broker.api.routes.orders import OrderCaller, place
from broker.api.schemas.requests import OrderBody

# As the header parameters of `routes.orders` have them.
_KEY = re.compile(r"[!-~]{1,64}")
_TRACE_CHARACTERS = 200
_JSON = frozenset({b"application/json", b"application/json; charset=utf-8"})
_SCOPE = "trade"


class OrderEntrance:
    """ASGI middleware that answers usual orders and passes all other requests on."""

    path = "/v1/orders"
    """As a route has it, for the measurement."""

    def __init__(self, app: ASGIApp, context: ApiContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"] != self.path or scope["method"] != "POST" or (caller := self._caller(scope)) is None:
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []
        # Before the body: one that is too large is measured under the route as well.
        scope["route"] = self
        try:
            body = await _read(receive, messages)
            order = _usual_order(body) if body is not None else None
            if order is None or self._context.quota.wait_s(caller.client.id, monotonic()) > 0:
                await self._app(scope, _again(messages, receive), send)
                return
            # As `auth.access` does for every other request: its exposure counts against the client's own limits.
            caller.account.orders.claim(caller.client.id)
            scope["state"]["account"] = caller.account
            response = await place(order, caller, received_s=scope["state"]["received_s"])
        except KNOWN_ERRORS as error:
            response = await answer(Request(scope, receive), error)
        await response(scope, receive, send)

    def _caller(self, scope: Scope) -> OrderCaller | None:
        """The caller of a request whose head is usual and may be taken; None for any other."""
        api = self._context
        if scope["query_string"] or api.drain.is_set() or not api.ready.is_set() or len(api.accounts) != 1:
            return None
        account, client = next(iter(api.accounts.values())), scope["state"]["client"]
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, value)  # of one that is repeated, the first, as Starlette does
        key, trace = headers.get(b"idempotency-key"), headers.get(b"traceparent")
        idempotency_key = key.decode("latin-1") if key is not None else None
        traceparent = trace.decode("latin-1") if trace is not None else None
        if (
            headers.get(b"content-type", b"").lower() not in _JSON
            or (idempotency_key is not None and _KEY.fullmatch(idempotency_key) is None)
            or (traceparent is not None and len(traceparent) > _TRACE_CHARACTERS)
            or _SCOPE not in client.scopes
            or account.orders.elsewhere() is not None
        ):
            return None
        return OrderCaller(api, account, client, idempotency_key, traceparent)


def _usual_order(body: bytes) -> OrderBody | None:
    """The order that a body asks for; None where FastAPI has to say what is wrong with it."""
    try:
        # Into plain values first, as FastAPI does it: pydantic reads JSON's numbers otherwise than Python's.
        return OrderBody.model_validate(decode_json(body))
    except (ValidationError, ValueError, RecursionError):
        return None


async def _read(receive: Receive, messages: list[Message]) -> bytes | None:
    """The whole body; None if the caller left. `messages` gets what was received."""
    parts = []
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _again(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that gives these messages once more, then those that follow."""
    held = iter(messages)

    async def receive_again() -> Message:
        for message in held:
            return message
        return await receive()

    return receive_again
