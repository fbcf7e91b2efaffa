"""Reader of one generation of secrets in the shared volume: all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.api.auth.keys import ApiKeys, parse_api_keys
from broker.api.http.tls import CertificatePair, check_authority, check_pair
from broker.history.database import DatabaseLogin
from pod_runtime.secret import Secret

LINK = "..data"
MANIFEST = "manifest.json"
FORMAT = 1


class GenerationError(Exception):
    """A generation cannot be used; names the secret and its fault, never a value."""

    def __init__(self, generation: int, secret: str, reason: str, message: str) -> None:
        super().__init__(f"{secret}: {message}")
        self.generation = generation
        self.secret = secret
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Credentials of the volume at one moment; None for those that no secret brought."""

    number: int
    venue_token: Secret | None = None
    venue_account: str | None = None
    api_keys: ApiKeys | None = None
    database: DatabaseLogin | None = None
    certificate: CertificatePair | None = None
    secret_of: Mapping[str, str]
    """File name to the name of its secret."""

    def name_of(self, file: str) -> str:
        """Name of the secret of a file."""
        return self.secret_of.get(file, file)


def current(directory: Path) -> Path | None:
    """The directory that `..data` points to now; None before the first publication."""
    # Resolved once, and all of a generation is read below it: a swap in the middle of reading cannot mix two.
    try:
        target = (directory / LINK).readlink()
    except OSError:
        return None
    # A generation lies in the volume itself: a link out of it is nothing that the sidecar published.
    return directory / target if target.parts == (target.name,) and target.name != ".." else None


def read_generation(folder: Path) -> Generation:
    """Read and check every secret of a generation.

    Raises:
        GenerationError: one of them is missing or malformed.
        OSError: the folder was removed while it was read; read the next one.
    """
    number, secret_of = _read_manifest(folder)
    reading = _Reading(folder, number, secret_of)
    token, account = reading.venue()
    return Generation(
        number=number,
        venue_token=token,
        venue_account=account,
        api_keys=reading.api_keys(),
        database=reading.database(),
        certificate=reading.certificate(),
        secret_of=secret_of,
    )


def _read_manifest(folder: Path) -> tuple[int, dict[str, str]]:
    try:
        raw = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        # Not guessed at: a later format may give the same file another meaning.
        if raw["version"] != FORMAT:
            raise GenerationError(
                0, MANIFEST, "UnknownFormat", f"version {raw['version']}; this program reads {FORMAT}"
            )
        number = int(raw["generation"])
        files = {str(file): str(name) for name, entry in raw["secrets"].items() for file in entry["files"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GenerationError(0, MANIFEST, "Malformed", f"not a manifest: {type(error).__name__}") from error
    return number, files


class _Reading:
    """Reads the files of one generation."""

    def __init__(self, folder: Path, number: int, secret_of: Mapping[str, str]) -> None:
        self._folder = folder
        self._number = number
        self._secret_of = secret_of

    def venue(self) -> tuple[Secret | None, str | None]:
        """Token, and account id if the file names one."""
        if (raw := self._json("venue.json")) is None:
            return None, None
        token = raw.get("token")
        if not isinstance(token, str) or not token.strip() or not token.isascii() or not token.isprintable():
            raise self._fault("venue.json", "token is missing or is not a printable text")
        account = raw.get("account_id")
        if account is not None and not isinstance(account, str):
            raise self._fault("venue.json", "account_id is not a text")
        return Secret(token.strip()), account

    def api_keys(self) -> ApiKeys | None:
        """Keys of the API's callers."""
        if (text := self._text("api-keys.json")) is None:
            return None
        try:
            return parse_api_keys(text)
        except ValueError as error:
            raise self._fault("api-keys.json", _without_content(error)) from error

    def database(self) -> DatabaseLogin | None:
        """User and password."""
        if (raw := self._json("database.json")) is None:
            return None
        found = [raw.get(name) for name in ("username", "password")]
        if not all(isinstance(value, str) and value for value in found):
            raise self._fault("database.json", "username or password is missing")
        return DatabaseLogin(str(found[0]), Secret(str(found[1])))

    def certificate(self) -> CertificatePair | None:
        """The API's certificate with its key; both or neither."""
        certificate, key = self._folder / "tls.crt", self._folder / "tls.key"
        present = [path.name for path in (certificate, key) if path.exists()]
        if not present:
            return None
        if len(present) == 1:
            raise self._fault(present[0], "tls.crt and tls.key come together")
        try:
            check_pair(certificate, key)
        except ValueError as error:
            raise self._fault("tls.crt", str(error)) from error
        return CertificatePair(certificate=certificate, key=key, authority=self._authority())

    def _authority(self) -> Path | None:
        path = self._folder / "ca.crt"
        if not path.exists():
            return None
        try:
            check_authority(path)
        except ValueError as error:
            raise self._fault("ca.crt", str(error)) from error
        return path

    def _text(self, name: str) -> str | None:
        try:
            return (self._folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            # A file that is missing because its folder went is no statement about the secret.
            if not self._folder.exists():
                raise
            return None
        except UnicodeDecodeError as error:
            raise self._fault(name, "is not UTF-8") from error

    def _json(self, name: str) -> dict[str, Any] | None:
        if (text := self._text(name)) is None:
            return None
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise self._fault(name, _without_content(error)) from error
        if not isinstance(raw, dict):
            raise self._fault(name, "is not a JSON object")
        return raw

    def _fault(self, name: str, message: str) -> GenerationError:
        return GenerationError(self._number, self._secret_of.get(name, name), "Malformed", f"{name}: {message}")


def _without_content(error: ValueError) -> str:
    # The error carries the document, which is a secret: only its place may reach a log.
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: line {error.lineno} column {error.colno}"
    return str(error)
