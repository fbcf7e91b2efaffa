"""The order journal, as far as the history needs it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

from broker.orders.store.journal import ORDER, TRANSACTION, OrderSegment, segments
from broker.orders.store.tail import Change
from pod_runtime.atomic_file import make_private_directory, replace_file
from pod_runtime.framing import HEADER_BYTES, heads

NAME_FILE = "history-source"
READ_BYTES = 8 << 20
_CHANGES = frozenset(ORDER + TRANSACTION)


class ChangeLog(Protocol):
    """The order service, which opens and closes the journal; see `broker.orders.service`."""

    def changes(self, after: int) -> AsyncIterator[Change]:
        """Changes behind a position, for ever."""

    def release(self, position: int) -> None:
        """Allow the journal to delete the changes before `position`."""


class JournalEnd:
    """Identity and newest position of the journal in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._segment: OrderSegment | None = None
        self._offset = HEADER_BYTES
        self._position = 0
        self._last = 0

    @cached_property
    def name(self) -> str:
        """The journal's identity, made once and kept beside it: positions of another volume mean nothing here.

        Raises OSError: the directory cannot be used.
        """
        path = self._directory / NAME_FILE
        # Random, and kept on the volume: a fresh one gets another name, and its positions are not taken for the old
        # ones.
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            name = secrets.token_hex(16)
            make_private_directory(self._directory)
            replace_file(path, name.encode())
            return name

    def last(self) -> int:
        """Position of the newest change; reads on from where the last call ended."""
        # From the files, not from the owner: a standby, which does not own the account, has a backlog too.
        try:
            found, known = segments(self._directory), self._segment
        except OSError:  # no descriptor left, or the volume fails: as in `_read_on`
            return self._last
        # Of the last two at first: the newest may hold nothing but its snapshot yet.
        unread = found[-2:] if known is None else [item for item in found if item.first >= known.first]
        for segment in unread:
            if segment != self._segment:
                self._segment, self._offset, self._position = segment, HEADER_BYTES, segment.first
            self._read_on(segment)
        return self._last

    def _read_on(self, segment: OrderSegment) -> None:
        while True:
            try:
                with segment.path.open("rb") as file:
                    file.seek(self._offset)
                    # Without a look at the sums: it runs on the event loop, and takes nothing from the records.
                    kinds, read = heads(file.read(READ_BYTES))
            except OSError:  # the journal deleted it, or the volume fails: the next call tells
                return
            if not kinds:
                return
            for back, kind in enumerate(reversed(kinds)):
                if kind in _CHANGES:
                    self._last = self._position + len(kinds) - back
                    break
            self._position += len(kinds)
            self._offset += read
