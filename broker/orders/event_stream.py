"""Event stream of an account: every journaled change once and in order, with quotes and the account as they come.

    after a mark:  journal from the mark to its end  ->  live from memory  ->  (behind, or another term) journal again

Marks. A change's mark is its journal position and the CRC-32 of its record. A reader that comes back with the mark of
its last change gets what is behind it, from whichever process owns the account by then. The sum shows that the record
is still the same: a journal on another volume, or one whose end a loss of power took, has another record there.

Once and in order. The listener is set up before the journal is read, so that nothing falls between the two; a change
that both bring is told by its position. A listener that is full drops its oldest: for a journaled change the reader
goes back to the journal, so that a slow reader misses quotes only.

Terms. A journal ends with its term. Another process on the same volume may append before our next one: then the
reader goes back to the journal as well.

Gaps. The journal keeps what the history has not read, and at least the segment before the newest. A reader that comes
after its mark is gone gets a `Gap`, and everything from then on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from broker.orders.ownership.leadership import Leadership
from broker.orders.store.journal import JournalMark
from broker.orders.store.tail import Change, JournalGapError, replay
from broker.orders.updates import Missed, Update, Updates


@dataclass(frozen=True, slots=True)
class Begun:
    """The stream has begun at a mark, for a reader that gave none."""

    mark: JournalMark


@dataclass(frozen=True, slots=True)
class Gap:
    """Changes up to `mark` are missing: they are not in the journal, or are not known to be."""

    mark: JournalMark
    reason: str


Streamed = Update | Missed | Begun | Gap


async def follow(updates: Updates, leadership: Leadership, after: JournalMark | None) -> AsyncGenerator[Streamed, None]:
    """Changes behind `after`, or from now on, with quotes and the account as they come; for ever."""
    with updates.listen() as listener:
        mark = after
        while True:
            await leadership.held.wait()
            if (engine := leadership.engine) is None:
                continue
            journal = engine.store.journal
            # Before the journal is read: a change that is lost while it is read is behind the reader's place.
            listener.lost_change = False
            if mark is None:
                mark = journal.mark
                yield Begun(mark)
            try:
                async with aclosing(replay(journal, mark)) as changes:
                    async for change in changes:
                        mark = change.mark
                        yield change
            except JournalGapError as gap:
                mark = journal.mark
                yield Gap(mark, str(gap))
            while (item := await listener.next()) is not None:
                if isinstance(item, Change) and item.position:
                    if item.position <= mark.position:
                        continue
                    # Of another term: somebody else may have appended in between.
                    if leadership.engine is not engine:
                        break
                    mark = item.mark
                yield item
