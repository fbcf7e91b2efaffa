"""The handler of /metrics: the producers' metrics and the sidecar's own on one page."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from sidecar.prometheus.names import Names
from sidecar.prometheus.render import Exposition, Format, negotiate
from sidecar.telemetry.model import Snapshot

_EOF = b"# EOF\n"
_GZIP_WINDOW = 31
"""zlib's way to say gzip (RFC 1952) with the largest window."""


@dataclass(frozen=True, slots=True)
class _Families:
    """What prometheus_client's generators ask of a registry, for families that were collected already."""

    families: list[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


class MetricsPage:
    """Answers scrapes; `handle` is an aiohttp handler.

    A page is made in slices with the loop's other work in between, so that ingest goes on while it grows.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], registry: CollectorRegistry | None = None) -> None:
        self._snapshot = snapshot
        self._registry = registry
        self._names = Names()
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
        """A page's bytes."""
        async with self._turn:
            press = zlib.compressobj(1, wbits=_GZIP_WINDOW) if zipped else _Plain()
            parts = [press.compress(self._own(format_))]
            await asyncio.sleep(0)
            snapshot = self._snapshot()
            await asyncio.sleep(0)
            for chunk in self._expositions[format_].chunks(snapshot):
                parts.append(press.compress(chunk.encode()))
                await asyncio.sleep(0)
            parts.append(press.compress(_EOF if format_ is Format.OPENMETRICS else b""))
            parts.append(press.flush())
        return b"".join(parts)

    def _own(self, format_: Format) -> bytes:
        if self._registry is None:
            return b""
        # Ours were asked for first: a producer cannot take a name of the sidecar's from it, only the other way round.
        own: Any = _Families([each for each in self._registry.collect() if self._names.reserve(each.name, each.type)])
        if format_ is Format.OPENMETRICS:
            page: bytes = generate_openmetrics(own)  # type: ignore[no-untyped-call] # prometheus_client leaves it so
            return page.removesuffix(_EOF)
        return generate_latest(own)


class _Plain:
    """A compressor that does not."""

    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether gzip is named and not refused (`q=0`)."""
    for entry in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in entry.split(";"))
        if coding in {"gzip", "*"}:
            return not any(part.replace(" ", "") in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for part in parameters)
    return False
