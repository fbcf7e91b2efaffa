"""A file layer that fails at a chosen call: every open, write, sync, rename and removal of the process, by number."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

CALLS = (
    *("open", "write", "pwrite", "fsync", "fdatasync", "ftruncate", "link", "rename", "replace", "unlink"),
    *("mkdir", "scandir", "symlink", "dup"),
)
ERRORS = (errno.EMFILE, errno.ENOSPC, errno.ENOMEM, errno.EIO)
"""Those of the sweeps: no descriptor, no space, no memory, and a disk that fails."""


class FileLayer:
    """Counts the calls; `fails` says of a call's number and name if it fails with `error`."""

    def __init__(self, error: int, fails: Callable[[int, str], bool]) -> None:
        self.error = error
        self.fails = fails
        self.calls = 0
        self.failed: list[str] = []

    def wrapped(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.fails(self.calls, name):
                self.failed.append(name)
                raise OSError(self.error, os.strerror(self.error))
            return work(*given, **named)

        return call


@contextmanager
def failing(error: int, fails: Callable[[int, str], bool] = lambda *_: True) -> Iterator[FileLayer]:
    """Lets calls fail while the block runs; by default all of them."""
    layer = FileLayer(error, fails)
    patches = [mock.patch.object(os, name, layer.wrapped(name, getattr(os, name))) for name in CALLS]
    patches.append(mock.patch.object(io, "open", layer.wrapped("open", io.open)))
    for patch in patches:
        patch.start()
    try:
        yield layer
    finally:
        for patch in patches:
            patch.stop()


@contextmanager
def failing_at(number: int, error: int) -> Iterator[FileLayer]:
    """Lets one call fail, the `number`-th from the block's begin."""
    with failing(error, lambda count, _: count == number) as layer:
        yield layer
