"""Taking the account, trading it, handing it over: one tenure after the other until the end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic, perf_counter
from typing import Any

from broker.events.process import DrainEnded
from broker.orders.conditions import BrokerCondition
from broker.orders.dependencies import Surroundings
from broker.orders.engine import Tenure
from broker.orders.ownership.lease import Lease
from broker.orders.store.journal import JournalError
from pod_runtime.framing import FormatError

OPEN_PAUSE_S = 1.0
TAKE_PAUSE_S = 0.25
"""How often one that holds the account looks whether it is to go."""
log = logging.getLogger(__name__)


class Tenancy:
    """Holds the account while it can. `tenure` is the one that holds, or None."""

    def __init__(self, around: Surroundings, lease: Lease) -> None:
        self._around = around
        self._conditions = around.conditions
        self._settings = around.settings
        self._emit = around.emit
        self.lease = lease
        self.tenure: Tenure | None = None
        self.held = asyncio.Event()
        """Set while a tenure holds."""
        self._noted = asyncio.Event()
        """Set where something new is to be handed on."""
        self.draining = False
        self.following = False
        """Whether another owns the account and we wait for our turn."""
        self.yielding = False
        """Whether the account is being handed over: no new orders, those on their way are waited for."""
        self._conditions.set(
            BrokerCondition.OWNERSHIP, ok=False, reason="Starting", message="the account is not taken yet"
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Takes the account and trades it until `stop`; then drains. Follows again when it lost the account."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                if await self._wait_ownership(stop):
                    await self._hold(stopping)
        finally:
            stopping.cancel()
            await self.lease.release()

    async def _wait_ownership(self, stop: asyncio.Event) -> bool:
        while not stop.is_set():
            left_s = await self.lease.take()
            if left_s == 0.0:
                self.following = False
                self._conditions.set(
                    BrokerCondition.OWNERSHIP, ok=True, reason="Ready", message=f"epoch {self.lease.epoch}"
                )
                return True
            self.following = True
            message = f"the account is traded by {self.lease.holder()}"
            self._say_standby("NotOwner", message)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, self.lease.look_every_s)):
                    await stop.wait()
        return False

    async def _hold(self, stopping: asyncio.Task[Any]) -> None:
        lease = self.lease
        tenure = Tenure(
            self._around,
            epoch=lease.epoch,
            may_send=lease.holds,
            may_write=lease.is_in_time,
            hand_on=self._hand_on,
        )
        try:
            tenure.open(lease.note())
        except (OSError, JournalError, FormatError) as error:
            self._conditions.set(BrokerCondition.JOURNAL, ok=False, reason=type(error).__name__, message=str(error))
            await self.lease.release()
            await asyncio.wait([stopping], timeout=OPEN_PAUSE_S)
            return
        self._conditions.set(BrokerCondition.JOURNAL, ok=True, reason="Ready")
        self.tenure = tenure
        self.held_since_s = monotonic()
        self.held.set()
        try:
            await self._follow(tenure, stopping)
        finally:
            self.held.clear()
            self.tenure = tenure if self.draining else None
            await tenure.close()

    async def _follow(self, tenure: Tenure, stopping: asyncio.Task[Any]) -> None:
        """Runs the tenure until the end of it: `stop`, a lost lease, or a fault of its own, which goes up."""
        work = asyncio.create_task(tenure.run())
        prices = asyncio.create_task(self._run_prices(tenure))
        renewing = asyncio.create_task(self._renew())
        yielding = asyncio.create_task(self._until_unwanted())
        tasks = [work, prices, renewing, yielding]
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            if stopping in done:
                await self._drain(tenure)
            elif yielding in done:
                await self._yield(tenure)
            for task in done - {stopping}:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run_prices(self, tenure: Tenure) -> None:
        while not tenure.is_in_contact:  # noqa: ASYNC110 - instruments come with the first contact
            await asyncio.sleep(0.02)
        await self._around.prices.run()

    def _hand_on(self, note: str) -> None:
        self.lease.hand_on(note)
        self._noted.set()

    async def _renew(self) -> None:
        """Ends when the account is lost. A thread would not help: who cannot run cannot send either.

        On a beat, and at once where there is something to hand on.
        """
        while True:
            self._noted.clear()
            if not await self.lease.renew():
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(self.lease.renew_every_s):
                    await self._noted.wait()
        self._say_standby("Lost", f"taken by {self.lease.holder()}")
        log.error("ownership lost", extra={"holder": self.lease.holder()})

    def _say_standby(self, reason: str, message: str) -> None:
        """Not owning is no fault where a standby is wanted: it answers reads and waits for its turn."""
        self._conditions.set(
            BrokerCondition.OWNERSHIP,
            ok=False,
            reason=reason,
            message=message,
            advisory=self._settings.serves_standby,
        )

    async def _until_unwanted(self) -> None:
        while self.lease.is_wanted():  # noqa: ASYNC110 - a file that the kubelet writes; nothing to wait on
            await asyncio.sleep(TAKE_PAUSE_S)

    async def _yield(self, tenure: Tenure) -> None:
        """Hands the account over: the orders on their way are answered before the successor may begin."""
        self.yielding = True
        try:
            self._say_standby("NotOwner", "the account goes to the active colour")
            await tenure.wait_landed(self._settings.drain_s)
            await self.lease.release()
        finally:
            self.yielding = False

    async def _drain(self, tenure: Tenure) -> None:
        """No new orders; those on their way are answered, or stay in the journal for the next start."""
        self.draining = True
        started = perf_counter()
        whole = await tenure.wait_landed(self._settings.drain_s)
        self._emit(DrainEnded(result="complete" if whole else "deadline", duration_s=perf_counter() - started))
