"""Settings of the secrets agent: address of Vault, login, and the secrets with the files made of them."""

from __future__ import annotations

import ipaddress
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pod_runtime.config import setting

FORMATS = ("json", "raw", "dotenv", "jinja2")
METHODS = ("kubernetes", "jwt", "approle", "token_file")
MANIFEST = "manifest.json"
# Of Linux (limits.h).
_NAME_MAX = 255
# Nobody may write: a generation never changes once it is visible.
_FULLEST_MODE = 0o440


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """Section `secrets.auth`: the sidecar's login."""

    method: str = setting("kubernetes", choices=METHODS, doc="method of login")
    mount: str = setting("", doc="path of the auth method; empty: the method's own name")
    role: str = setting("", doc="role of kubernetes or jwt")
    jwt_file: Path = setting(
        Path("/run/vault/token"), doc="projected token of kubernetes or jwt; read again at every login"
    )
    role_id_file: Path | None = setting(None, doc="file with the role id of approle")
    secret_id_file: Path | None = setting(
        None, doc="file with the secret id of approle, or with the token that wraps one; read again at every login"
    )
    secret_id_wrapped: bool = setting(False, doc="true if secret_id_file holds a response-wrapping token")
    token_file: Path | None = setting(None, doc="file with a token; the sidecar renews it and never revokes it")
    ttl_s: int = setting(
        0,
        minimum=0,
        doc="seconds to ask for once a token is in the journal; 0: the role's. Let the role give a minute: "
        "a token whose login was cut off by a crash is known to nobody and lives that long",
    )
    max_ttl_s: float = setting(
        0.0, minimum=0, doc="longest life of a token in seconds, as its role sets it; 0: learned at the first end"
    )

    def __post_init__(self) -> None:
        needed = {
            "kubernetes": ("role",),
            "jwt": ("role",),
            "approle": ("role_id_file", "secret_id_file"),
            "token_file": ("token_file",),
        }[self.method]
        if absent := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"method {self.method!r} needs {' and '.join(absent)}")

    @property
    def mount_path(self) -> str:
        """Path of the auth method, by default its name."""
        return self.mount.strip("/") or self.method


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """A file made of a secret."""

    name: str = setting(doc="name of the file in the directory of secrets")
    format: str = setting(
        "json", choices=FORMATS, doc="json: all fields; raw: one field; dotenv: NAME=value lines; jinja2: a template"
    )
    key: str = setting("", doc="the field of a raw file")
    keys: tuple[str, ...] = setting((), doc="fields of a json or dotenv file; empty: all")
    template: str = setting("", doc="jinja2 template over the secret's fields")
    template_file: Path | None = setting(None, doc="file with the template; read at each read of the secret")
    mode: str = setting("0440", doc="permissions, octal; 0440 or tighter")

    def __post_init__(self) -> None:
        if faults := "; ".join(self._faults()):
            raise ValueError(f"file {self.name!r}: {faults}")

    def _faults(self) -> Iterator[str]:
        # `a/`, `./a` and `/` are one part to a path, and no file name; the kernel counts bytes, and ends at a NUL.
        is_plain = PurePosixPath(self.name).parts == (self.name,) and self.name != "/" and "\0" not in self.name
        if not is_plain or self.name.startswith("..") or len(os.fsencode(self.name)) > _NAME_MAX:
            yield f"name must be one plain file name of at most {_NAME_MAX} bytes that does not begin with .."
        elif self.name == MANIFEST:
            yield f"{MANIFEST} is the manifest's name"
        try:
            if self.permissions & ~_FULLEST_MODE or not self.permissions & 0o400:
                yield "mode must be 0440 or tighter"
        except ValueError:
            yield 'mode must be octal, for example "0440"'
        if self.format == "raw" and not self.key:
            yield "a raw file needs key"
        if self.format == "jinja2" and bool(self.template) == bool(self.template_file):
            yield "a jinja2 file needs template or template_file"

    @property
    def permissions(self) -> int:
        """`mode` as a number."""
        return int(self.mode, 8)


_ENGINES = {
    "kv": ("secret", "path"),
    "kv1": ("kv", "path"),
    "leased": ("", "path"),
    "static_role": ("database", "role"),
    "pki": ("pki", "role"),
    "transit": ("transit", "role"),
}
"""Default mount and needed setting of each source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSettings:
    """A secret: its source, and the files made of it."""

    name: str = setting(doc="name in the manifest, the console and the metrics")
    source: str = setting(choices=tuple(_ENGINES), doc="kind of engine")
    mount: str = setting("", doc="path of the engine; empty: secret, kv, database, pki or transit, by source")
    path: str = setting(
        "", doc="kv, kv1: path below mount; leased: whole path, for example database/creds/broker; transit: see file"
    )
    role: str = setting("", doc="role of static_role and pki; key of transit")
    parameters: dict[str, str] = setting({}, doc="fields of the request of leased (makes it a write) and pki")
    ciphertext_file: Path | None = setting(None, doc="transit: file with the ciphertext (vault:v1:…)")
    files: tuple[FileSettings, ...] = setting((), doc="files made of the secret")
    max_ttl_s: float = setting(
        0.0, minimum=0, doc="longest life of a lease in seconds, as its role sets it; 0: learned at the first end"
    )
    renew_increment_s: int = setting(
        0, minimum=0, doc="seconds to ask for at a renewal; 0: the lease's first life (less shortens it)"
    )

    def __post_init__(self) -> None:
        if faults := "; ".join(self._faults()):
            raise ValueError(f"secret {self.name!r}: {faults}")

    def _faults(self) -> Iterator[str]:
        needed = _ENGINES[self.source][1]
        if not getattr(self, needed):
            yield f"source {self.source!r} needs {needed}"
        if self.source == "transit" and self.ciphertext_file is None:
            yield "source 'transit' needs ciphertext_file"
        if self.source == "pki" and "common_name" not in self.parameters:
            yield "source 'pki' needs parameters.common_name"
        if not self.files:
            yield "needs at least one file"
        # A client resolves such segments before it asks: another secret would be read.
        for key in ("mount", "path", "role"):
            if not {".", ".."}.isdisjoint(str(getattr(self, key)).split("/")):
                yield f"{key} must not have a segment . or .."

    @property
    def mount_path(self) -> str:
        """Path of the engine."""
        return self.mount.strip("/") or _ENGINES[self.source][0]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsSettings:
    """Section `secrets`: the secrets that the sidecar reads from Vault and publishes for the broker."""

    address: str = setting("", doc="URL of Vault or OpenBao; default VAULT_ADDR; http on loopback only")
    ca_cert: Path | None = setting(None, doc="certificate authorities (PEM) for https; default VAULT_CACERT")
    namespace: str = setting("", doc="namespace; default VAULT_NAMESPACE")
    connect_timeout_s: float = setting(2.0, minimum=0.05, doc="seconds to connect")
    request_timeout_s: float = setting(5.0, minimum=0.1, doc="seconds for a request and its answer")
    auth: AuthSettings = setting(AuthSettings(role="broker"), doc="login")
    secrets: tuple[SecretSettings, ...] = setting((), doc="the secrets; published together, as one generation")
    directory: Path = setting(Path("/run/secrets/broker"), doc="shared directory of the published files")
    lease_journal: Path = setting(Path("/run/leases"), doc="directory of the lease journal, 0700; memory-backed")
    require_tmpfs: bool = setting(True, doc="true to refuse directories that are not memory-backed")
    owner_uid: int = setting(-1, minimum=-1, doc="owner of published files; -1: the sidecar's")
    owner_gid: int = setting(-1, minimum=-1, doc="group of published files; -1: the sidecar's")
    max_secret_bytes: int = setting(
        1 << 20, minimum=1, doc="bytes of all files of a secret; a larger secret is not published: the volume is small"
    )
    grace_s: float = setting(60.0, minimum=0, doc="seconds that a replaced generation stays for readers inside it")
    poll_interval_s: float = setting(2.0, minimum=0.1, doc="seconds between polls of a kv secret's version")
    token_check_interval_s: float = setting(
        2.0, minimum=0.1, doc="seconds between checks of the token: the longest time that a revoked one goes unnoticed"
    )
    acknowledge_timeout_s: float = setting(
        30.0, minimum=1, doc="seconds after which a generation without an acknowledgement is reported"
    )
    acknowledged_by: tuple[str, ...] = setting(
        (),
        doc="producers that must all acknowledge before older credentials are revoked, and that alone may reject; "
        "empty: any one",
    )

    @property
    def is_anyone_heard(self) -> bool:
        """True if any producer's word has a lease revoked: there are leased secrets, and nobody is named."""
        return not self.acknowledged_by and any(item.source == "leased" for item in self.secrets)

    def __post_init__(self) -> None:
        if faults := [*self._address_faults(), *self._name_faults()]:
            raise ValueError("; ".join(faults))

    def _address_faults(self) -> list[str]:
        if not self.address:
            return ["address is required (or VAULT_ADDR)"] if self.secrets else []
        url = urlsplit(self.address)
        if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.query:
            return ["address must be http(s)://host:port"]
        if url.scheme == "http" and not _is_loopback(url.hostname):
            return ["address: http would show tokens to the network; use https, or http on loopback"]
        if url.scheme == "https" and self.ca_cert is None:
            return ["ca_cert (or VAULT_CACERT) is required with https: the authorities are named, never assumed"]
        return []

    def _name_faults(self) -> list[str]:
        names = Counter(item.name for item in self.secrets)
        files = Counter(file.name for item in self.secrets for file in item.files)
        doubles = [f"secret {name!r} is defined {count} times" for name, count in names.items() if count > 1]
        return doubles + [f"file {name!r} is made {count} times" for name, count in files.items() if count > 1]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
