"""Credentials from the shared volume: read whole, proved by use, then applied all at once."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from broker.api.auth.keys import ApiKeys
from broker.api.http.tls import CertificatePair, load_certificate
from broker.config import CredentialSettings
from broker.credentials.generation import Generation, GenerationError, current, read_generation
from broker.credentials.volume import looks_at
from broker.events.events import CredentialReload, CredentialSample
from broker.history.database import Database, DatabaseUnavailableError, LoginRefusedError
from broker.orders.conditions import Conditions
from broker.venue.errors import NotAuthorizedError, VenueError
from pod_runtime.secret import Secret

_LOG = logging.getLogger(__name__)
SAMPLE_S = 15.0
ASK_AGAIN_S = 30.0
"""Seconds between questions whether a refused token is taken again: no storm."""
CONDITION, VENUE = "Credentials", "VenueToken"
EVERY = "all"
NO_AUTHORITY = (
    'orders.standby is forward and ca.crt is missing: publish it beside tls.crt, or set orders.standby = "refuse"'
)


class Venue(Protocol):
    """Where a token is proved."""

    async def prove(self, token: Secret) -> None:
        """Uses it once; raises VenueError where it does not work."""


class Announce(Protocol):
    """Who is told what became of a generation: the stream to the sidecar."""

    def secrets_applied(self, generation: int) -> None:
        """The generation is in use."""

    def secrets_rejected(self, generation: int, secret: str, reason: str, message: str) -> None:
        """The generation is not used because of this secret."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """What using a generation's credentials showed."""

    generation: Generation
    engine: AsyncEngine | None
    doubt: GenerationError | None
    """What could not be asked: neither proved nor refused."""


class Credentials:
    """The credentials in use. `run` follows the volume until it is cancelled; the environment is never read."""

    def __init__(
        self,
        settings: CredentialSettings,
        *,
        accounts: tuple[str, ...],
        needs_tls: bool,
        venue: Venue,
        database: Database,
        tls: ssl.SSLContext | None,
        asks_peers: bool = False,
        conditions: Conditions,
        emit: Callable[[tuple[Any, ...]], None],
        announce: Announce,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._needs_tls = needs_tls
        self._venue = venue
        self._database = database
        self._tls = tls
        self._asks_peers = asks_peers
        """Whether clients that are brokers show a certificate."""
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
        """Generation and reason that was last told: a retry does not tell it again."""
        self._conditions.set(
            CONDITION, ok=False, reason="WaitingForSecrets", message=f"no secrets in {settings.directory} yet"
        )

    def venue_token(self) -> Secret | None:
        """The token to use, or None before there is one."""
        return self._held.venue_token if self._held is not None else None

    def api_keys(self) -> ApiKeys | None:
        """The keys of the API's callers, or None before there are any."""
        return self._held.api_keys if self._held is not None else None

    def certificate(self) -> CertificatePair | None:
        """The certificate in use, or None before there is one."""
        return self._held.certificate if self._held is not None else None

    def refused(self, token: Secret) -> None:
        """The venue answered 401 to `token`: not ready until another one works, or this one again."""
        if self._held is None or self._held.venue_token != token or self._refused == token:
            return
        self._refused = token
        _LOG.error("venue refuses the token", extra={"generation": self._held.number})
        message = f"the venue refuses the token of generation {self._held.number}; the next one is awaited"
        self._conditions.set(VENUE, ok=False, reason="Unauthorized", message=message)

    async def run(self) -> None:
        """Applies each generation that appears, and the one that is there now."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sample())
            async with aclosing(looks_at(self._settings.directory, self._settings.poll_s)) as looks:
                async for _ in looks:
                    await self.look(loop.time())

    async def look(self, now_s: float) -> None:
        """Takes the generation that is there now, unless it is settled or was tried less than `retry_s` ago."""
        folder = current(self._settings.directory)
        if folder is None:
            return
        if folder == self._tried and now_s < self._again_s:
            await self._ask_again(now_s)
            return
        settled = await self._take(folder)
        self._tried, self._again_s = folder, math.inf if settled else now_s + self._settings.retry_s

    async def _ask_again(self, now_s: float) -> None:
        """Whether a refused token is taken again: the 401 may have been the venue's own trouble."""
        held = self._held
        if self._refused is None or held is None or held.venue_token is None or now_s < self._ask_at_s:
            return
        self._ask_at_s = now_s + ASK_AGAIN_S
        try:
            doubt = await self._prove_token(held, held.venue_token)
        except GenerationError:
            return
        if doubt is None:
            self._refused = None
            _LOG.warning("venue takes the token again", extra={"generation": held.number})
            self._conditions.set(VENUE, ok=True, reason="Ready", message=f"generation {held.number} is in use")

    async def _take(self, folder: Path) -> bool:
        """Whether the generation is settled: applied and proved, or wrong for good."""
        try:
            proof = await self._prove(await asyncio.to_thread(read_generation, folder))
        except GenerationError as error:
            self._reject(folder, error)
            return error.reason not in _PASSING
        except OSError as error:
            _LOG.warning("generation not readable", extra={"fault": str(error)})
            return False
        if proof.doubt is None:
            await self._apply(proof)
            return True
        await self._take_on_trust(proof, proof.doubt)
        return False

    async def _take_on_trust(self, proof: _Proof, doubt: GenerationError) -> None:
        """What cannot be asked delays a rotation only while the held generation works."""
        generation = proof.generation
        needs = self._held is None or self._refused is not None
        if needs and (self._held is None or self._held.number != generation.number):
            await self._use(proof)
        elif proof.engine is not None:
            await proof.engine.dispose()
        message = f"generation {generation.number} is not proved yet: {doubt}"
        self._conditions.set(CONDITION, ok=self._is_proved, reason=doubt.reason, message=message)

    async def _prove(self, generation: Generation) -> _Proof:
        if generation.venue_token is None:
            raise GenerationError(generation.number, "venue", "Missing", "venue.json is not in the generation")
        if generation.venue_account not in {None, *self._accounts}:
            says = ", ".join(self._accounts)
            message = f"the token is for account {generation.venue_account}, the configuration says {says}"
            raise GenerationError(generation.number, generation.name_of("venue.json"), "WrongAccount", message)
        if self._needs_tls and generation.certificate is None:
            raise GenerationError(generation.number, "tls", "Missing", "api.tls is required and tls.crt is missing")
        if self._needs_tls and self._asks_peers and generation.certificate and not generation.certificate.authority:
            raise GenerationError(generation.number, "tls", "Missing", NO_AUTHORITY)
        token_doubt = await self._prove_token(generation, generation.venue_token)
        engine, login_doubt = await self._prove_database(generation)
        return _Proof(generation, engine, token_doubt or login_doubt)

    async def _prove_token(self, generation: Generation, token: Secret) -> GenerationError | None:
        if self._is_proved and token == self.venue_token() and token != self._refused:
            return None
        name = generation.name_of("venue.json")
        try:
            async with asyncio.timeout(self._settings.prove_s):
                await self._venue.prove(token)
        except NotAuthorizedError as error:
            raise GenerationError(generation.number, name, "Unauthorized", "the venue refuses the token") from error
        except (VenueError, TimeoutError) as error:
            message = f"the venue cannot be asked: {error or 'no answer in time'}"
            return GenerationError(generation.number, name, "VenueUnavailable", message)
        return None

    async def _prove_database(self, generation: Generation) -> tuple[AsyncEngine | None, GenerationError | None]:
        login = generation.database
        if login is None or not self._database.needs_login:
            return None, None
        if self._is_proved and self._held is not None and self._held.database == login:
            return None, None
        name = generation.name_of("database.json")
        engine: AsyncEngine | None = None
        try:
            engine = self._database.engine(login)
            await self._database.prove(engine)
        except LoginRefusedError as error:
            if engine is not None:
                await engine.dispose()
            raise GenerationError(generation.number, name, "Unauthorized", str(error)) from error
        except DatabaseUnavailableError as error:
            return engine, GenerationError(generation.number, name, "DatabaseUnavailable", str(error))
        return engine, None

    async def _use(self, proof: _Proof) -> None:
        generation = proof.generation
        if proof.engine is not None:
            await self._database.adopt(proof.engine)
        if self._tls is not None and generation.certificate is not None:
            pair = generation.certificate
            load_certificate(self._tls, pair.certificate, pair.key, pair.authority if self._asks_peers else None)
        self._note_ages(generation)
        self._held, self._is_proved = generation, proof.doubt is None

    async def _apply(self, proof: _Proof) -> None:
        number = proof.generation.number
        await self._use(proof)
        self._refused = self._rejected = None
        words = f"generation {number} is in use"
        self._conditions.set(CONDITION, ok=True, reason="Ready", message=words)
        self._conditions.set(VENUE, ok=True, reason="Ready", message=words)
        self._emit(CredentialReload(secret=EVERY, result="applied", generation=number, reason=None))
        self._announce.secrets_applied(number)
        _LOG.info("secrets applied", extra={"generation": number})

    def _reject(self, folder: Path, error: GenerationError) -> None:
        held = self._held
        kept = f"generation {held.number} stays in use" if held is not None else "there are none in use"
        message = f"generation {error.generation} was rejected ({error}); {kept}"
        self._conditions.set(CONDITION, ok=self._is_proved, reason=f"Rejected{error.reason}", message=message)
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


_PASSING = frozenset({"Unauthorized"})
"""A refusal that may pass: a fresh credential can take a moment to be known where it is used."""
