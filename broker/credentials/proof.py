"""Proof of credentials by use: a generation's token and database login must have worked once to be applied."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from broker.config import CredentialSettings
from broker.credentials.generation import Generation, GenerationError
from broker.history.database import Database, DatabaseUnavailableError, LoginRefusedError
from broker.venue.errors import NotAuthorizedError, VenueError
from pod_runtime.secret import Secret

NO_AUTHORITY = (
    'orders.standby is forward and ca.crt is missing: publish it beside tls.crt, or set orders.standby = "refuse"'
)


class TokenVerifier(Protocol):
    """Tries a token at the venue, for one account."""

    async def prove(self, token: Secret) -> None:
        """Use it once; raises VenueError if it does not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialNeeds:
    """Credentials that the configuration asks for, besides a token and API keys."""

    accounts: tuple[str, ...]
    """Accounts that the token must be for, if it names one."""
    needs_tls: bool
    asks_peers: bool = False
    """True if clients that are brokers show a certificate of `ca.crt`."""


@dataclass(frozen=True, slots=True)
class CredentialProof:
    """Result of using a generation's credentials. Whoever does not apply it disposes `engine`."""

    generation: Generation
    engine: AsyncEngine | None
    """Connected with the new login; None if the login is unchanged or not needed."""
    doubt: GenerationError | None
    """Reason that something could be neither proved nor refused: it could not be asked."""


class CredentialProver:
    """Uses the credentials of a generation once each."""

    def __init__(
        self, settings: CredentialSettings, needs: CredentialNeeds, venues: Sequence[TokenVerifier], database: Database
    ) -> None:
        self._settings = settings
        self._needs = needs
        self._venues = venues
        self._database = database

    async def prove(
        self, generation: Generation, *, proved: Generation | None, refused: Secret | None
    ) -> CredentialProof:
        """Use what differs from `proved`, the generation that is known to work but for a token that was `refused`.

        Raises GenerationError: a credential is missing, for something else, or refused.
        """
        if generation.venue_token is None:
            raise GenerationError(generation.number, "venue", "Missing", "venue.json is not in the generation")
        needs = self._needs
        # Before the token is used: this reason names both accounts, where the venue would only answer 401.
        if generation.venue_account not in {None, *needs.accounts}:
            configured = ", ".join(needs.accounts)
            message = f"the token is for account {generation.venue_account}, the configuration says {configured}"
            raise GenerationError(generation.number, generation.name_of("venue.json"), "WrongAccount", message)
        if needs.needs_tls and generation.certificate is None:
            raise GenerationError(generation.number, "tls", "Missing", "api.tls is required and tls.crt is missing")
        if needs.needs_tls and needs.asks_peers and generation.certificate and not generation.certificate.authority:
            raise GenerationError(generation.number, "tls", "Missing", NO_AUTHORITY)
        token = generation.venue_token
        works = proved is not None and proved.venue_token == token and token != refused
        token_doubt = None if works else await self.prove_token(generation, token)
        engine, login_doubt = await self._prove_database(generation, proved)
        return CredentialProof(generation, engine, token_doubt or login_doubt)

    async def prove_token(self, generation: Generation, token: Secret) -> GenerationError | None:
        """Use the token once; the doubt if the venue cannot be asked.

        Raises GenerationError: the venue refuses the token.
        """
        name = generation.name_of("venue.json")
        try:
            # One deadline for all accounts, which are asked one after the other.
            async with asyncio.timeout(self._settings.prove_s):
                for venue in self._venues:
                    await venue.prove(token)
        except NotAuthorizedError as error:
            raise GenerationError(generation.number, name, "Unauthorized", "the venue refuses the token") from error
        except (VenueError, TimeoutError) as error:
            message = f"the venue cannot be asked: {error or 'no answer in time'}"
            return GenerationError(generation.number, name, "VenueUnavailable", message)
        return None

    async def _prove_database(
        self, generation: Generation, proved: Generation | None
    ) -> tuple[AsyncEngine | None, GenerationError | None]:
        login = generation.database
        if login is None or not self._database.needs_login or (proved is not None and proved.database == login):
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
            # The engine is kept: it connects by itself as soon as the database answers.
            return engine, GenerationError(generation.number, name, "DatabaseUnavailable", str(error))
        return engine, None
