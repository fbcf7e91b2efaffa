"""Handler of /metrics: metrics of the producers and of the sidecar on one page."""

from __future__ import annotations

import asyncio
import zlib
from types import SimpleNamespace
from typing import Any

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from sidecar.prometheus.names import MetricNames
from sidecar.prometheus.render import Exposition, Format, negotiate
from sidecar.telemetry.model import MetricSource

NAMES_FILE = "prometheus-names"
_EOF = b"# EOF\n"
# zlib's number for gzip (RFC 1952) with the largest window: https://zlib.net/manual.html#Advanced
_GZIP_WINDOW = 31


class MetricsPage:
    """Answers scrapes; `handle` is an aiohttp handler.

    A page is made in slices with the loop's other work in between, so that ingest goes on while it grows.
    """

    def __init__(self, source: MetricSource, own: Collector | None = None) -> None:
        self._source = source
        self._own = own
        self._names = MetricNames.restored(source.kept(NAMES_FILE))
        self._named = len(self._names.held)
        self._expositions = {format_: Exposition(format_, self._names) for format_ in Format}
        self._turn = asyncio.Lock()

    async def handle(self, request: web.Request) -> web.Response:
        """The page in the format and encoding that the scraper prefers."""
        format_ = negotiate(request.headers.get("Accept", ""))
        zipped = _takes_gzip(request.headers.get("Accept-Encoding", ""))
        body = await self.render(format_, zipped=zipped)
        headers = {"Content-Type": format_.value, "Vary": "Accept, Accept-Encoding"}
        if zipped:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def render(self, format_: Format, *, zipped: bool = False) -> bytes:
        """Bytes of a page."""
        # One page at a time: an exposition keeps what stands on it from page to page.
        async with self._turn:
            # Level 1: a higher one costs more of the loop's time than it saves of a local network's.
            press = zlib.compressobj(1, wbits=_GZIP_WINDOW) if zipped else None
            pressed = press.compress if press else bytes
            parts = [pressed(self._own_page(format_))]
            await asyncio.sleep(0)
            snapshot = self._source.snapshot()
            await asyncio.sleep(0)
            for chunk in self._expositions[format_].chunks(snapshot):
                parts.append(pressed(chunk.encode()))
                await asyncio.sleep(0)
            parts.append(pressed(_EOF if format_ is Format.OPENMETRICS else b""))
            parts.append(press.flush() if press else b"")
            if len(self._names.held) > self._named and await self._source.keep(NAMES_FILE, self._names.capture()):
                self._named = len(self._names.held)
        return b"".join(parts)

    def _own_page(self, format_: Format) -> bytes:
        if self._own is None:
            return b""
        # Ours reserve their names first. One that a producer had before is left out: neither format allows two
        # families of one name on a page.
        families = [each for each in self._own.collect() if self._names.reserve(each.name, each.type)]
        own: Any = SimpleNamespace(collect=lambda: families)  # a registry of what was collected already
        if format_ is Format.OPENMETRICS:
            page: bytes = generate_openmetrics(own)  # type: ignore[no-untyped-call] # prometheus_client leaves it so
            return page.removesuffix(_EOF)
        return generate_latest(own)


def _takes_gzip(accept_encoding: str) -> bool:
    """True where gzip is named and not refused (`q=0`; RFC 9110, 12.5.3)."""
    for entry in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in entry.split(";"))
        if coding in {"gzip", "*"}:
            return not any(part.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for part in parameters)
    return False
