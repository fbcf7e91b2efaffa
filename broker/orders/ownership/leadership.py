"""Leadership of an account: acquires it, renews the lease while the engine trades, and hands it over.

Why one owner
    The venue does not deduplicate client order ids and has no fencing token (v20, order endpoints). Two processes
    that trade one account could send one order twice, and each would check limits against half of the positions.

A term
    One ownership term runs from an acquisition to its end and has a number, the epoch, which rises with every term of
    anybody. One OrderEngine lives as long as one term; the client ids at the venue carry the epoch.

        following -> acquire -> engine.open -> catch-up -> trading -> ends by:
          stop            drain: no new orders, wait for those in flight, then release        (process ends)
          a policy        hand over: the same, and follow again                               (colour changed)
          lease lost      nothing may be sent; close the journal, follow again                (paused, partitioned)
          engine fault    release and raise                                                   (process ends)

Margins
    Let the lease last L seconds (`orders.lease_s`); the owner renews every L/4.
      - the owner stops sending 0.8 L after its last renewal began,      by its own CLOCK_BOOTTIME
      - a successor waits 1.2 L after the last renewal that it saw,      by its own CLOCK_BOOTTIME
    Clocks of two machines differ in rate by far less than 20 %, and nobody compares their times. The 0.4 L between
    the two bound the delivery of a last request (TCP_USER_TIMEOUT, see broker/venue/rest): what an owner wrote
    in time has arrived or is dropped before the successor reads the venue's log.

Fencing
    - before every send, after the last wait, the engine asks `holds`: a process that was stopped (SIGSTOP, a
      paused virtual machine) wakes up beyond its own deadline and sends nothing;
    - before every write to the journal it asks `is_unexpired`: our own time is enough there, for a successor on the
      same volume begins a new segment at once and never reads ours again;
    - a pause between `holds` and the write itself remains, microseconds long. Such an order bears the former
      epoch: the successor sees it in the log, adopts it, and halts (OrderStore).

Handover
    The lease carries a note, the trading state, for a successor on another volume. A new note is written at once, not
    at the next renewal (`hand_over` wakes the renewal). `release` lets the successor begin without any wait.

    A crash at each step: before the acquisition is written, nobody owns the account and the next attempt decides;
    after it, the lease runs out and a successor waits 1.2 L, or less on one machine, where a lock dies with the
    process (lease.py); during a drain, orders in flight are in the journal and the next start finds them out.

Renewal has no thread of its own: an event loop that stands still cannot send either, and must lose the lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from time import monotonic, perf_counter

from broker.events.process import DrainEnded
from broker.orders.conditions import BrokerCondition
from broker.orders.dependencies import NOBODY, EngineDependencies
from broker.orders.engine import OrderEngine
from broker.orders.errors import DrainingError, NotReadyError
from broker.orders.model.lifecycle import OrderRecord
from broker.orders.ownership.policies import OwnershipPolicy, acquire, release
from broker.orders.store.journal import OrderJournalError
from pod_runtime.cancellation import PersistentTaskGroup, check_cancelled
from pod_runtime.files.framing import FormatError

OPEN_PAUSE_S = 1.0
"""Seconds before a journal that cannot be opened, or a lease that cannot be tried, is tried again."""
KEEP_POLL_S = 0.25
"""Seconds between questions to the policies while we own the account; also the retry advice without an owner."""
LEAST_PLACE_S = 5.0
log = logging.getLogger(__name__)


def place_limit_s(lease_s: float) -> float:
    """Seconds in which a process must have its place again (`Leadership.has_place`), or ends."""
    # A lease of a second, as in tests, is too short for the end of a term on a busy machine.
    return max(lease_s, LEAST_PLACE_S)


class Leadership:
    """Ownership of one account, term after term. `run` it; `engine` is the current term's, or None."""

    def __init__(self, dependencies: EngineDependencies, policies: Sequence[OwnershipPolicy]) -> None:
        self._dependencies = dependencies
        self._conditions = dependencies.conditions
        self._settings = dependencies.settings
        self._policies = policies
        self.lease = dependencies.lease
        self.engine: OrderEngine | None = None
        self.held = asyncio.Event()
        """Set while a term lasts."""
        self.held_since_s = 0.0
        self.draining = False
        self.following = False
        """True while another process owns the account and we wait for our turn."""
        self.yielding = False
        """True while the account is handed over: no new orders, those in flight are waited for."""
        self._in_term = False
        self._owed: dict[str, OrderRecord] = {}
        """Final words that our last term could not write; the next one does, if nobody else came between."""
        self._conditions.set(
            BrokerCondition.OWNERSHIP, ok=False, reason="Starting", message="the account is not taken yet"
        )

    def owner(self) -> OrderEngine:
        """The engine of the current term.

        Raises NotReadyError, DrainingError: we do not own the account, or the process ends.
        """
        if self.draining:
            raise DrainingError
        if self.engine is None:
            fault = self._conditions.fault()
            raise NotReadyError(fault.reason if fault is not None else "NotOwner", KEEP_POLL_S)
        return self.engine

    def trader(self) -> OrderEngine:
        """The engine, if it may trade now. Raises NotReadyError, DrainingError: it may not; nothing was sent."""
        engine = self.owner()
        if self.yielding:
            raise NotReadyError("NotOwner", KEEP_POLL_S)
        if not engine.catch_up.is_done:
            fault = self._conditions.fault()
            raise NotReadyError(fault.reason if fault is not None else "Starting")
        # Last: the lease is the one condition that can end between two lines, and is asked again before sending.
        if not self.lease.holds():
            raise NotReadyError("NotOwner", self.lease.renew_every_s)
        return engine

    def has_place(self) -> bool:
        """True while we own the account, wait for our turn, or give the account back in order.

        False for long is a fault of ours: a term has ended and something of it does not.
        """
        return not self._in_term or self.draining or self.yielding or self.lease.is_unexpired()

    async def run(self, stop: asyncio.Event) -> None:
        """Acquire the account and trade it until `stop`, then drain; follow again whenever ownership is lost."""
        try:
            while not stop.is_set():
                if await self._wait_ownership(stop):
                    await self._run_term(stop)
        finally:
            await release(self.lease, self._policies)

    async def _wait_ownership(self, stop: asyncio.Event) -> bool:
        while not stop.is_set():
            check_cancelled()
            try:
                left_s = await acquire(self.lease, self._policies)
            except OSError as error:  # the volume is full or fails, or no descriptor is left
                words = f"the lease cannot be taken: {error}"
                self._conditions.set(BrokerCondition.OWNERSHIP, ok=False, reason=type(error).__name__, message=words)
                await release(self.lease, self._policies)
                await _wait(stop, OPEN_PAUSE_S)
                continue
            if left_s == 0.0:
                self.following = False
                self._conditions.set(
                    BrokerCondition.OWNERSHIP, ok=True, reason="Ready", message=f"epoch {self.lease.epoch}"
                )
                return True
            self.following = True
            self._set_standby("NotOwner", f"the account is traded by {self.lease.holder()}")
            # In steps: an owner may release, or die, long before its lease runs out.
            await _wait(stop, min(left_s, self.lease.poll_every_s))
        return False

    async def _run_term(self, stop: asyncio.Event) -> None:
        engine = OrderEngine(self._dependencies)
        try:
            engine.open(self.lease.note(), self._owed)
        except (OSError, OrderJournalError, FormatError) as error:
            self._conditions.set(BrokerCondition.JOURNAL, ok=False, reason=type(error).__name__, message=str(error))
            await release(self.lease, self._policies)
            # The lease was given back meanwhile: another process may have a volume that works.
            await _wait(stop, OPEN_PAUSE_S)
            return
        self._conditions.set(BrokerCondition.JOURNAL, ok=True, reason="Ready")
        self._in_term = True
        try:
            async with engine:
                self.engine, self.held_since_s = engine, monotonic()
                self.held.set()
                try:
                    await self._follow(engine, stop)
                finally:
                    self.held.clear()
                    # While the process drains, reads are still answered from the engine's memory.
                    self.engine = engine if self.draining else None
        finally:
            self._in_term, self._owed = False, engine.store.owed

    async def _follow(self, engine: OrderEngine, stop: asyncio.Event) -> None:
        """Run the engine until the term ends; raise the engine's own fault."""
        parts = (engine.run(), self._renew(), self._watch_policies(), stop.wait())
        async with PersistentTaskGroup() as term:
            work, renewal, denial, stopping = (term.create_task(_fault_of(part)) for part in parts)
            tasks = {work, renewal, denial, stopping}
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # A drain wins over a handover that comes in the same turn: the process ends either way.
            if stopping in done:
                await self._drain(engine)
            elif denial in done:
                await self._yield(engine)
            for task in tasks:
                task.cancel()
        for task in done:
            if (fault := task.result()) is not None:
                raise fault

    async def _renew(self) -> None:
        """Renew until the account is lost: at intervals, and at once if there is a new handover note."""
        while True:
            check_cancelled()
            # Before the renewal: a note that comes during it is written by the next one, at once.
            self.lease.note_changed.clear()
            if not await self.lease.renew():
                break
            await _wait(self.lease.note_changed, self.lease.renew_every_s)
        holder = self.lease.holder()
        taken = f"taken by {holder}" if holder != NOBODY else "the lease ran out before it was renewed"
        self._set_standby("Lost", taken)
        log.error("ownership lost", extra={"holder": holder})

    def _set_standby(self, reason: str, message: str) -> None:
        # A standby that answers reads and waits for its turn is as it should be, where one is wanted.
        self._conditions.set(
            BrokerCondition.OWNERSHIP, ok=False, reason=reason, message=message, advisory=self._settings.serves_standby
        )

    async def _watch_policies(self) -> None:
        """Return when a policy wants the account handed over."""
        while all(policy.may_keep() for policy in self._policies):  # noqa: ASYNC110 - a file; nothing to wait on
            await asyncio.sleep(KEEP_POLL_S)

    async def _yield(self, engine: OrderEngine) -> None:
        """Hand the account over: orders in flight are answered before the successor may begin."""
        self.yielding = True
        try:
            self._set_standby("NotOwner", "the account goes to the active colour")
            # Released only behind the last answer: the successor reads the log, and must find these orders there.
            await engine.wait_idle(self._settings.drain_s)
            await release(self.lease, self._policies)
        finally:
            self.yielding = False

    async def _drain(self, engine: OrderEngine) -> None:
        """Wait for orders in flight; those without an answer stay in the journal for the next start."""
        self.draining = True
        started = perf_counter()
        complete = await engine.wait_idle(self._settings.drain_s)
        result = "complete" if complete else "deadline"
        self._dependencies.emit(DrainEnded(result=result, duration_s=perf_counter() - started))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _fault_of(part: Coroutine[object, object, object]) -> Exception | None:
    """Run a part of the term; its fault as a value."""
    # A TaskGroup that saw the fault would cancel the drain in progress, and orders in flight with it.
    try:
        await part
    except Exception as fault:  # noqa: BLE001 - raised again when the term has ended in order
        return fault
    return None
