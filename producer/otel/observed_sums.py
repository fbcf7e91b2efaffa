"""The running sums that observable counters had when they were observed last, over restarts of the program.

A counter of the sidecar outlives the program, and so does many a total that a program observes: bytes since the boot
of the machine, packets of a device. A program that began at zero after each start would add such a total whole each
time. So the sums stand in a file of the spool's directory, written after each round of observing:

    {"version": 1, "sums": [[instrument, [[label, value], ...], sum], ...]}

A kill between a round and its write counts that round's changes again, a fresh directory adds the totals once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pod_runtime.atomic_file import replace_file
from producer.plain_values import label_text, text_of

log = logging.getLogger(__name__)
VERSION = 1
# Sets of attributes whose last sum is remembered; the sidecar has as many series of an instrument.
MAX_SETS = 2000
LabelSet = frozenset[tuple[str, str]]
LastSums = dict[LabelSet, float]


def label_set(attributes: Mapping[Any, Any]) -> LabelSet:
    """The labels of a series, whatever the order of its attributes."""
    return frozenset((text_of(name), label_text(value)) for name, value in attributes.items())


class ObservedSums:
    """The last sums of every observable counter of a program, kept in the file `path`; without one in memory."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._sums = _read(path) if path is not None else {}
        self._written = self._content()

    def of(self, instrument: str) -> LastSums:
        """The sums of one counter; the caller changes them in place."""
        return self._sums.setdefault(instrument, {})

    def save(self) -> None:
        """Writes the sums if they have changed; a volume that fails is tried again at the next call."""
        if self._path is None or (content := self._content()) == self._written:
            return
        try:
            self._path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            replace_file(self._path, content, durable=False)
        except OSError as error:
            log.warning("observed sums not kept", extra={"reason": str(error)})
        else:
            self._written = content

    def _content(self) -> bytes:
        rows = [
            [instrument, sorted(labels), last]
            for instrument, sums in self._sums.items()
            for labels, last in sums.items()
        ]
        return json.dumps({"version": VERSION, "sums": rows}).encode()


def _read(path: Path) -> dict[str, LastSums]:
    found: dict[str, LastSums] = {}
    try:
        stored = json.loads(path.read_bytes())
        for instrument, labels, last in stored["sums"] if stored["version"] == VERSION else ():
            key = frozenset((str(name), str(value)) for name, value in labels)
            found.setdefault(str(instrument), {})[key] = last + 0
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("observed sums cannot be read: totals are added once", extra={"reason": str(error)})
        return {}
    return found
