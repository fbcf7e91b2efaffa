"""A volume that fails when a test says so."""

from __future__ import annotations

import os

from sidecar.journal.volume import FlushError, MemoryVolume


class SickVolume(MemoryVolume):
    """Memory that refuses to take anything while `error` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.error = 0
        self.sync_error = 0

    def append(self, name: str, data: bytes) -> None:
        self._check()
        super().append(name, data)

    def replace(self, name: str, data: bytes) -> None:
        self._check()
        super().replace(name, data)

    def sync(self) -> None:
        try:
            self._check(self.sync_error)
        except OSError as error:
            raise FlushError(error.errno, error.strerror) from error

    def _check(self, error: int = 0) -> None:
        if code := error or self.error:
            raise OSError(code, os.strerror(code))
