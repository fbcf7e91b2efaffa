"""When to look at the secret volume: at each notification of its directory, and on a slow beat besides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

_LOG = logging.getLogger(__name__)


async def looks_at(directory: Path, poll_s: float) -> AsyncGenerator[None, None]:
    """A beat for each notification of the directory, and at least one each `poll_s`."""
    while True:
        yield None
        try:
            if directory.is_dir():  # noqa: ASYNC240 - one stat of a file system in memory
                async for _ in _notifications(directory, poll_s):
                    yield None
        except (OSError, RuntimeError) as error:  # no inotify instance left, or the directory went
            _LOG.warning("directory not watched, only polled", extra={"fault": str(error)})
        await asyncio.sleep(poll_s)


async def _notifications(directory: Path, poll_s: float) -> AsyncGenerator[None, None]:
    from watchfiles import awatch  # noqa: PLC0415 - its import takes 50 ms that the start need not wait for

    stream = awatch(
        directory,
        watch_filter=None,
        recursive=False,
        debounce=50,
        step=20,
        rust_timeout=int(poll_s * 1000),
        yield_on_timeout=True,
    )
    async with aclosing(stream):
        async for _ in stream:
            yield None
            if not directory.is_dir():  # noqa: ASYNC240 - as above
                return
