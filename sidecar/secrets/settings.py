"""Settings of the secrets agent: where Vault is, how to log in, which secrets become which files."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pod_runtime.config import setting

FORMATS = ("json", "raw", "dotenv", "jinja2")
SOURCES = ("kv", "kv1", "leased", "static_role", "pki", "transit")
METHODS = ("kubernetes", "jwt", "approle", "token_file")
MANIFEST = "manifest.json"
_FULLEST_MODE = 0o440


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """Section `secrets.auth`: how the sidecar proves who it is."""

    method: str = setting("kubernetes", choices=METHODS, doc="way to log in")
    mount: str = setting("", doc="path of the auth method; empty: the method's own name")
    role: str = setting("", doc="role of kubernetes or jwt")
    jwt_file: Path = setting(
        Path("/run/vault/token"), doc="projected token of kubernetes or jwt; read again at every login"
    )
    role_id_file: Path | None = setting(None, doc="file with the role id of approle")
    secret_id_file: Path | None = setting(
        None, doc="file with the secret id of approle, or with the token that wraps one; read again at every login"
    )
    secret_id_wrapped: bool = setting(False, doc="whether secret_id_file holds a response-wrapping token")
    token_file: Path | None = setting(None, doc="file with a token; the sidecar renews it and never revokes it")
    ttl_s: int = setting(
        0,
        minimum=0,
        doc="seconds to ask for once a token is in the journal; 0: what the role gives. Let the role give a minute: "
        "a token whose login was cut off by a crash is known to nobody and lives that long",
    )
    max_ttl_s: float = setting(
        0.0, minimum=0, doc="seconds that a token can live at most, as its role says; 0: learned at the first end"
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
        """Path of the auth method."""
        return self.mount.strip("/") or self.method


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """A file that a secret becomes."""

    name: str = setting(doc="name of the file in the directory of secrets")
    format: str = setting(
        "json", choices=FORMATS, doc="json: all fields; raw: one field; dotenv: NAME=value lines; jinja2: a template"
    )
    key: str = setting("", doc="the field of a raw file")
    keys: tuple[str, ...] = setting((), doc="fields of a json or dotenv file; empty: all")
    template: str = setting("", doc="text of a jinja2 template over the secret's fields")
    template_file: Path | None = setting(None, doc="file with the template, read whenever the secret is")
    mode: str = setting("0440", doc="permissions, octal; 0440 or tighter")

    def __post_init__(self) -> None:
        if faults := [fault for fault in (self._name_fault(), self._mode_fault(), self._format_fault()) if fault]:
            raise ValueError(f"file {self.name!r}: {'; '.join(faults)}")

    def _name_fault(self) -> str:
        path = PurePosixPath(self.name)
        if len(path.parts) != 1 or self.name.startswith("..") or len(self.name) > 255:  # noqa: PLR2004 - NAME_MAX
            return "name must be one plain file name that does not begin with .."
        return f"{MANIFEST} is the manifest's name" if self.name == MANIFEST else ""

    def _mode_fault(self) -> str:
        try:
            number = int(self.mode, 8)
        except ValueError:
            return 'mode must be octal, for example "0440"'
        return "mode must be 0440 or tighter" if number & ~_FULLEST_MODE or not number & 0o400 else ""

    def _format_fault(self) -> str:
        if self.format == "raw" and not self.key:
            return "a raw file needs key"
        if self.format == "jinja2" and bool(self.template) == bool(self.template_file):
            return "a jinja2 file needs template or template_file"
        return ""

    @property
    def permissions(self) -> int:
        """`mode` as a number."""
        return int(self.mode, 8)


_MOUNTS = {"kv": "secret", "kv1": "kv", "leased": "", "static_role": "database", "pki": "pki", "transit": "transit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSettings:
    """A secret: where it comes from, and the files that it becomes."""

    name: str = setting(doc="name in the manifest, the console and the metrics")
    source: str = setting(choices=SOURCES, doc="kind of engine")
    mount: str = setting("", doc="path of the engine; empty: secret, kv, database, pki or transit, as the kind is")
    path: str = setting(
        "", doc="kv, kv1: path below mount; leased: whole path, for example database/creds/broker; transit: see file"
    )
    role: str = setting("", doc="role of static_role and pki; key of transit")
    parameters: dict[str, str] = setting({}, doc="fields of the request of leased (makes it a write) and pki")
    ciphertext_file: Path | None = setting(None, doc="transit: file with the ciphertext (vault:v1:…)")
    files: tuple[FileSettings, ...] = setting((), doc="what the secret becomes")
    max_ttl_s: float = setting(
        0.0, minimum=0, doc="seconds that a lease can live at most, as its role says; 0: learned at the first end"
    )
    renew_increment_s: int = setting(
        0, minimum=0, doc="seconds to ask for at a renewal; 0: what the lease had at first (less shortens it)"
    )

    def __post_init__(self) -> None:
        needs = {
            "kv": "path",
            "kv1": "path",
            "leased": "path",
            "static_role": "role",
            "pki": "role",
            "transit": "role",
        }
        faults = []
        if not getattr(self, needs[self.source]):
            faults.append(f"source {self.source!r} needs {needs[self.source]}")
        if self.source == "transit" and self.ciphertext_file is None:
            faults.append("source 'transit' needs ciphertext_file")
        if self.source == "pki" and "common_name" not in self.parameters:
            faults.append("source 'pki' needs parameters.common_name")
        if not self.files:
            faults.append("needs at least one file")
        if faults:
            raise ValueError(f"secret {self.name!r}: {'; '.join(faults)}")

    @property
    def mount_path(self) -> str:
        """Path of the engine."""
        return self.mount.strip("/") or _MOUNTS[self.source]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsSettings:
    """Section `secrets`: what the sidecar fetches from Vault and publishes for the broker."""

    address: str = setting("", doc="URL of Vault or OpenBao; VAULT_ADDR where it is left open; http on loopback only")
    ca_cert: Path | None = setting(None, doc="authorities (PEM) that https is checked against; VAULT_CACERT")
    namespace: str = setting("", doc="namespace; VAULT_NAMESPACE")
    connect_timeout_s: float = setting(2.0, minimum=0.05, doc="seconds to connect")
    request_timeout_s: float = setting(5.0, minimum=0.1, doc="seconds for a request and its answer")
    auth: AuthSettings = setting(AuthSettings(role="broker"), doc="how to log in")
    secrets: tuple[SecretSettings, ...] = setting((), doc="the secrets; published together, as one set")
    directory: Path = setting(Path("/run/secrets/broker"), doc="shared directory that sets are published in")
    lease_journal: Path = setting(
        Path("/run/leases"), doc="directory of the lease journal, closed to everybody else; memory-backed"
    )
    require_tmpfs: bool = setting(True, doc="whether both directories must be memory-backed")
    owner_uid: int = setting(-1, minimum=-1, doc="owner of published files; -1: the sidecar's")
    owner_gid: int = setting(-1, minimum=-1, doc="group of published files; -1: the sidecar's")
    grace_s: float = setting(60.0, minimum=0, doc="seconds that a replaced set stays for readers inside it")
    poll_interval_s: float = setting(2.0, minimum=0.1, doc="seconds between looks at the version of kv secrets")
    token_check_interval_s: float = setting(
        2.0, minimum=0.1, doc="seconds between looks at the token: what a revoked one goes unnoticed for"
    )
    acknowledge_timeout_s: float = setting(
        30.0, minimum=1, doc="seconds after which a set that nobody acknowledged is reported"
    )
    acknowledged_by: tuple[str, ...] = setting(
        (), doc="producers that must all prove a set before older credentials are revoked; empty: any one"
    )

    def __post_init__(self) -> None:
        faults = [*self._address_faults(), *self._name_faults()]
        if faults:
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
