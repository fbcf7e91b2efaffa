"""Check of the API key by the head of a request alone, before any byte of its body is read."""

from __future__ import annotations

from http import HTTPStatus
from time import monotonic

from starlette.types import ASGIApp, Receive, Scope, Send

from broker.api.auth.keys import ApiClient
from broker.api.context import ApiContext
from broker.api.http.problem import Problem, unavailable
from pod_runtime.listener.table import network_of

PREFIX = "/v1/"
"""Of every address that needs a key."""
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="broker"'}


class KeyCheck:
    """ASGI middleware: the holder of a good key becomes `client` of the request's state, others are refused.

    FastAPI reads and parses a body before it asks the dependencies of a route (`auth.access`), for anybody.
    """

    def __init__(self, app: ASGIApp, context: ApiContext) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"].startswith(PREFIX):
            try:
                scope["state"]["client"] = self._holder(scope)
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
            # The server keeps a connection that has shown a key. A request without a server has none.
            if (connection := scope["state"].get("connection")) is not None:
                connection.recognize()
        await self._app(scope, receive, send)

    def _holder(self, scope: Scope) -> ApiClient:
        keys = self._context.keys.api_keys()
        if keys is None:
            detail = "The broker has no API keys yet: it waits for its secrets. Try again."
            raise unavailable("not-ready", detail, retry_after_s=1, reason="NoApiKeys")
        presented = _presented(scope)
        if not presented:
            self._context.refused["no-key"] += 1
            detail = "Send an API key in the header X-API-Key, or as a bearer token."
            raise Problem(HTTPStatus.UNAUTHORIZED, "no-key", detail, headers=_CHALLENGE)
        client = keys.find(presented)
        if client is None:
            raise self._unknown(scope)
        return client

    def _unknown(self, scope: Scope) -> Problem:
        """The answer to an unknown key, counted by its sender's address."""
        peer = network_of(scope["client"][0]) if scope.get("client") else ""
        if (wait_s := self._context.wrong_keys.wait_s(peer, monotonic())) > 0:
            self._context.refused["too-many-wrong-keys"] += 1
            detail = (
                f"More than {self._context.settings.wrong_keys_per_min:g} requests a minute with unknown keys came "
                "from your address. Keys are rotated: ask for the current one. A known key is taken at any time."
            )
            status, close = HTTPStatus.TOO_MANY_REQUESTS, {"Connection": "close"}
            return Problem(status, "too-many-wrong-keys", detail, retry_after_s=wait_s, headers=close)
        self._context.refused["unknown-key"] += 1
        detail = "This API key is not known. Keys are rotated: ask for the current one."
        return Problem(HTTPStatus.UNAUTHORIZED, "unknown-key", detail, headers=_CHALLENGE)


def _presented(scope: Scope) -> str:
    """The key in `X-API-Key`, or else the bearer token; of a header that is repeated, the first."""
    bearer = ""
    for name, value in scope["headers"]:
        if name == b"x-api-key" and value:
            return str(value.decode("latin-1"))
        if name == b"authorization" and not bearer:
            scheme, _, token = value.decode("latin-1").partition(" ")
            bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer
