"""Watcher of the secret volume: reads each generation whole, proves it by use, then applies all of it at once.

Rotation is make-before-break (docs/decisions/0005): the sidecar revokes the old credentials only after
`secrets_applied`, so that a generation that does not work is rejected and the one in use stays.

    refused or malformed       rejected, and reported once; a refusal is tried again, for it may pass
    cannot be asked            the generation in use stays, if it works; else the new one is used on trust
    proved                     applied
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Protocol

from broker.api.auth.keys import ApiKeys
from broker.api.http.tls import CertificatePair, load_certificate
from broker.config import CredentialSettings
from broker.credentials.generation import Generation, GenerationError, current, read_generation
from broker.credentials.proof import CredentialNeeds, CredentialProof, CredentialProver, TokenVerifier
from broker.events.process import CredentialReload, CredentialSample
from broker.history.database import Database
from broker.orders.conditions import BrokerCondition, Conditions
from pod_runtime.cancellation import PersistentTaskGroup, check_cancelled
from pod_runtime.secret import Secret
from producer.emitter import Emit

_LOG = logging.getLogger(__name__)
LOOK_MS = 100
"""Milliseconds between two looks of the thread that waits for notifications."""
SAMPLE_S = 15.0
ASK_AGAIN_S = 30.0
"""Seconds between attempts with a token that the venue refused: it is asked rarely while it says no."""
EVERY = "all"
PASSING = frozenset({"Unauthorized"})
"""Reasons that may pass: a fresh credential can take a moment to be known where it is used."""


class GenerationAnnouncer(Protocol):
    """Reports the fate of a generation to the sidecar; see `producer.stream.client`."""

    def secrets_applied(self, generation: int) -> None:
        """The generation is in use."""

    def secrets_rejected(self, generation: int, secret: str, reason: str, message: str) -> None:
        """The generation is not used because of this secret."""


class CredentialWatcher:
    """Holds the credentials in use. `run` follows the volume until cancelled; the environment is never read."""

    def __init__(
        self,
        settings: CredentialSettings,
        needs: CredentialNeeds,
        *,
        venues: Sequence[TokenVerifier],
        database: Database,
        tls: ssl.SSLContext | None,
        conditions: Conditions,
        emit: Emit,
        announce: GenerationAnnouncer,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._needs = needs
        self._prover = CredentialProver(settings, needs, venues, database)
        self._database = database
        self._tls = tls
        self._conditions = conditions
        self._emit = emit
        self._announce = announce
        self._clock = clock
        self._held: Generation | None = None
        self._is_proved = False
        self._applied_at: dict[str, datetime] = {}
        self._refused: Secret | None = None
        """The token that the venue answered with 401 while it was in use."""
        self._tried: Path | None = None
        self._again_s = 0.0
        self._ask_at_s = 0.0
        self._rejected: tuple[Path, str] | None = None
        """Generation and reason of the last report: a retry does not report it again."""
        self._conditions.set(
            BrokerCondition.CREDENTIALS,
            ok=False,
            reason="WaitingForSecrets",
            message=f"no secrets in {settings.directory} yet",
        )

    def token(self) -> Secret | None:
        """The token to use, or None before the first generation."""
        return self._held.venue_token if self._held is not None else None

    def api_keys(self) -> ApiKeys | None:
        """The keys of the API's callers, or None before the first generation."""
        return self._held.api_keys if self._held is not None else None

    def certificate(self) -> CertificatePair | None:
        """The certificate in use, or None before the first generation."""
        return self._held.certificate if self._held is not None else None

    def on_unauthorized(self, token: Secret, /) -> None:
        """Note that the venue answered 401 to `token`: not ready until another one works, or this one again."""
        # A late answer about a token that was replaced meanwhile says nothing of the one in use.
        if self._held is None or self._held.venue_token != token or self._refused == token:
            return
        self._refused = token
        _LOG.error("venue refuses the token", extra={"generation": self._held.number})
        message = f"the venue refuses the token of generation {self._held.number}; the next one is awaited"
        self._conditions.set(BrokerCondition.VENUE_TOKEN, ok=False, reason="Unauthorized", message=message)

    async def run(self) -> None:
        """Apply the generation that is there now, and each that appears."""
        loop = asyncio.get_running_loop()
        async with PersistentTaskGroup() as tasks:
            tasks.create_task(self._sample())
            async with aclosing(poll_times(self._settings.directory, self._settings.poll_s)) as times:
                async for _ in times:
                    await self.poll(loop.time())

    async def poll(self, now_s: float) -> None:
        """Try the generation that is there now, unless it is settled or was tried less than `retry_s` ago."""
        folder = current(self._settings.directory)
        if folder is None:
            return
        if folder == self._tried and now_s < self._again_s:
            await self._ask_again(now_s)
            return
        # Settled: never read again until the link moves. Unsettled: again after retry_s.
        settled = await self._take(folder)
        self._tried, self._again_s = folder, math.inf if settled else now_s + self._settings.retry_s

    async def _ask_again(self, now_s: float) -> None:
        """Try a refused token again: the 401 may have been the venue's own trouble."""
        held = self._held
        if self._refused is None or held is None or held.venue_token is None or now_s < self._ask_at_s:
            return
        self._ask_at_s = now_s + ASK_AGAIN_S
        try:
            doubt = await self._prover.prove_token(held, held.venue_token)
        except GenerationError:
            return
        if doubt is None:
            self._refused = None
            _LOG.warning("venue takes the token again", extra={"generation": held.number})
            self._conditions.set(
                BrokerCondition.VENUE_TOKEN, ok=True, reason="Ready", message=f"generation {held.number} is in use"
            )

    async def _take(self, folder: Path) -> bool:
        """Try a generation; True if it is settled: applied and proved, or wrong for good."""
        try:
            generation = await asyncio.to_thread(read_generation, folder)
            # Only a generation that was proved vouches for what it has in common with the new one.
            proved = self._held if self._is_proved else None
            proof = await self._prover.prove(generation, proved=proved, refused=self._refused)
        except GenerationError as error:
            self._reject(folder, error)
            return error.reason not in PASSING
        except OSError as error:
            _LOG.warning("generation not readable", extra={"fault": str(error)})
            return False
        if proof.doubt is None:
            await self._apply(proof)
            return True
        await self._take_on_trust(proof, proof.doubt)
        return False

    async def _take_on_trust(self, proof: CredentialProof, doubt: GenerationError) -> None:
        """Use a generation that could not be proved, but only if the one in use does not work."""
        generation = proof.generation
        # A generation that works is worth more than one that might.
        needs = self._held is None or self._refused is not None
        if needs and (self._held is None or self._held.number != generation.number):
            await self._use(proof)
        elif proof.engine is not None:
            await proof.engine.dispose()
        message = f"generation {generation.number} is not proved yet: {doubt}"
        self._conditions.set(BrokerCondition.CREDENTIALS, ok=self._is_proved, reason=doubt.reason, message=message)

    async def _use(self, proof: CredentialProof) -> None:
        generation = proof.generation
        if proof.engine is not None:
            await self._database.adopt(proof.engine)
        if self._tls is not None and generation.certificate is not None:
            pair = generation.certificate
            load_certificate(self._tls, pair.certificate, pair.key, pair.authority if self._needs.asks_peers else None)
        self._note_ages(generation)
        self._held, self._is_proved = generation, proof.doubt is None

    async def _apply(self, proof: CredentialProof) -> None:
        number = proof.generation.number
        await self._use(proof)
        self._refused = self._rejected = None
        words = f"generation {number} is in use"
        self._conditions.set(BrokerCondition.CREDENTIALS, ok=True, reason="Ready", message=words)
        self._conditions.set(BrokerCondition.VENUE_TOKEN, ok=True, reason="Ready", message=words)
        self._emit(CredentialReload(secret=EVERY, result="applied", generation=number, reason=None))
        self._announce.secrets_applied(number)
        _LOG.info("secrets applied", extra={"generation": number})

    def _reject(self, folder: Path, error: GenerationError) -> None:
        held = self._held
        kept = f"generation {held.number} stays in use" if held is not None else "there are none in use"
        message = f"generation {error.generation} was rejected ({error}); {kept}"
        self._conditions.set(
            BrokerCondition.CREDENTIALS, ok=self._is_proved, reason=f"Rejected{error.reason}", message=message
        )
        # The sidecar counts rejections: a retry of the same generation is not another one.
        if self._rejected == (folder, error.reason):
            return
        self._rejected = (folder, error.reason)
        number, name, reason = error.generation, error.secret, error.reason
        self._emit(CredentialReload(secret=name, result="rejected", generation=number, reason=reason))
        self._announce.secrets_rejected(number, name, reason, error.message)
        shown = {"generation": number, "secret": name, "reason": reason, "fault": error.message}
        _LOG.error("secrets rejected", extra=shown)

    def _note_ages(self, generation: Generation) -> None:
        held, now = self._held, self._clock()
        for name, new, old in (
            ("venue", generation.venue_token, held.venue_token if held else None),
            ("api-keys", generation.api_keys, held.api_keys if held else None),
            ("database", generation.database, held.database if held else None),
            ("tls", generation.certificate, held.certificate if held else None),
        ):
            if new is None:
                self._applied_at.pop(name, None)
            elif new != old or name not in self._applied_at:
                self._applied_at[name] = now

    async def _sample(self) -> None:
        while True:
            now = self._clock()
            for name, since in self._applied_at.items():
                self._emit(CredentialSample(secret=name, age_s=(now - since).total_seconds()))
            await asyncio.sleep(SAMPLE_S)


async def poll_times(directory: Path, poll_s: float) -> AsyncGenerator[None, None]:
    """Yield at each notification of the directory, and at least every `poll_s`."""
    while True:
        check_cancelled()
        yield None
        try:
            if directory.is_dir():  # noqa: ASYNC240 - one stat of a file system in memory
                async for _ in _notifications(directory, poll_s):
                    yield None
        except (OSError, RuntimeError) as error:  # no inotify instance left, or the directory is gone
            _LOG.warning("directory not watched, only polled", extra={"fault": str(error)})
        await asyncio.sleep(poll_s)


async def _notifications(directory: Path, poll_s: float) -> AsyncGenerator[None, None]:
    from watchfiles import awatch  # noqa: PLC0415 - its import takes 50 ms that the start need not wait for

    # Not recursive: the sidecar swaps one link, `..data`, and everything below it belongs to one generation.
    # Its thread looks every `step` milliseconds and takes the interpreter from whoever works: at 20 ms from each order.
    stream = awatch(
        directory,
        watch_filter=None,
        recursive=False,
        debounce=LOOK_MS,
        step=LOOK_MS,
        rust_timeout=int(poll_s * 1000),
        yield_on_timeout=True,
    )
    async with aclosing(stream):
        async for _ in stream:
            yield None
            if not directory.is_dir():  # noqa: ASYNC240 - as above
                return
