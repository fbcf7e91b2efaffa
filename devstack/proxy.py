"""A proxy in front of the active colour: it holds a request over a swap, and sends again what surely did nothing."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Self

import aiohttp
from aiohttp import web

DEADLINE_S = 9.0
PAUSE_S = 0.05
_LATER = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)
_DROPPED = {"host", "content-length", "transfer-encoding", "connection", "content-encoding"}


class Proxy:
    """`async with Proxy() as proxy`: passes requests to the URL in `active`.

    It sends again on 503, on 429, on a 409 that says that the broker does not own the account, and on a broken
    connection: the first three have sent nothing to the venue, and the Idempotency-Key makes the last the same order.
    One request at a time tries while none is answered; the others wait for it, so that a swap is no storm.
    """

    def __init__(self) -> None:
        self.active = ""
        self.url = ""
        self.again = 0
        """Requests that were sent once more."""
        self._is_answered = asyncio.Event()
        self._is_answered.set()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S))
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    await self._is_answered.wait()
                    if (answer := await self._once(request, body)) is not None:
                        return answer
                    self.again += 1
                    if self._is_answered.is_set():
                        return await self._until_answered(request, body)
        except TimeoutError:
            return web.Response(status=HTTPStatus.BAD_GATEWAY, text="no colour answered")

    async def _until_answered(self, request: web.Request, body: bytes) -> web.Response:
        self._is_answered.clear()
        try:
            while (answer := await self._once(request, body)) is None:
                self.again += 1
                await asyncio.sleep(PAUSE_S)
            return answer
        finally:
            self._is_answered.set()

    async def _once(self, request: web.Request, body: bytes) -> web.Response | None:
        """The answer, or None where the request is to be sent again."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _DROPPED}
        try:
            async with self._session.request(
                request.method, self.active + request.path_qs, data=body, headers=headers
            ) as answer:
                text = await answer.read()
                is_standby = answer.status == HTTPStatus.CONFLICT and b"not-owner-of-account" in text
                if answer.status in _LATER or is_standby:
                    return None
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _DROPPED}
                return web.Response(status=answer.status, body=text, headers=kept)
        except (aiohttp.ClientConnectionError, TimeoutError):
            return None
