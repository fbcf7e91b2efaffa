"""Settings of the agent: faults are named with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pod_runtime.config import ConfigError, load
from sidecar.secrets.settings import AuthSettings, FileSettings, SecretSettings, SecretsSettings

FILE = FileSettings(name="a.json")
KV = SecretSettings(name="a", source="kv", path="a", files=(FILE,))


def loaded(tmp_path: Path, text: str) -> SecretsSettings:
    path = tmp_path / "secrets.toml"
    path.write_text(text)
    return load(SecretsSettings, path=path, environ={}, prefix="SIDECAR")


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
        address = "https://vault:8200"
        ca_cert = "/etc/ca.pem"
        [auth]
        method = "kubernetes"
        role = "broker"
        [[secrets]]
        name = "venue"
        source = "kv"
        path = "broker/venue"
        files = [{name = "venue.json"}]
        [[secrets]]
        name = "tls"
        source = "pki"
        role = "broker"
        parameters = {common_name = "broker.trading.svc"}
        files = [
            {name = "tls.crt", format = "raw", key = "chain"},
            {name = "tls.key", format = "raw", key = "private_key", mode = "0400"},
        ]
        """,
    )
    assert [item.name for item in settings.secrets] == ["venue", "tls"]
    assert settings.secrets[0].mount_path == "secret"
    assert settings.secrets[1].files[1].permissions == 0o400
    assert settings.auth.mount_path == "kubernetes"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"address": "http://vault:8200"}, "http would show tokens to the network"),
        ({"address": "https://vault:8200"}, "ca_cert .* is required with https"),
        ({"address": "https://user:word@vault"}, r"must be http\(s\)://host:port"),
        ({"secrets": (KV,)}, "address is required"),
        ({"address": "http://127.0.0.1:1", "secrets": (KV, KV)}, "'a' is defined 2 times; file 'a.json' is made"),
    ],
)
def test_faults_of_the_section(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SecretsSettings(**values)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8200", "http://localhost:8200", "http://[::1]:8200"])
def test_http_is_taken_on_loopback(address: str) -> None:
    assert SecretsSettings(address=address).address == address


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "kv"}, "source 'kv' needs path"),
        ({"source": "pki", "role": "r"}, "needs parameters.common_name"),
        ({"source": "transit", "role": "r"}, "needs ciphertext_file"),
        ({"source": "kv", "path": "x", "files": ()}, "needs at least one file"),
    ],
)
def test_faults_of_a_secret(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SecretSettings(**({"name": "a", "files": (FILE,)} | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "../a"}, "one plain file name"),
        ({"name": "..data"}, "one plain file name"),
        *(
            ({"name": name}, "one plain file name")
            for name in ("", ".", "/", "a/", "./a", "a//b", "a\0b", "manifest.json/", "\u00e4" * 128)
        ),
        ({"name": "manifest.json"}, "the manifest's name"),
        ({"name": "a", "mode": "0644"}, "0440 or tighter"),
        ({"name": "a", "mode": "rw"}, "must be octal"),
        ({"name": "a", "format": "raw"}, "a raw file needs key"),
        ({"name": "a", "format": "jinja2"}, "needs template or template_file"),
    ],
)
def test_faults_of_a_file(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FileSettings(**values)


def test_a_name_may_have_as_many_bytes_as_the_kernel_takes(tmp_path: Path) -> None:
    name = "\u00e4" * 127 + "b"
    (tmp_path / FileSettings(name=name).name).touch()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("kubernetes", "needs role"),
        ("approle", "needs role_id_file and secret_id_file"),
        ("token_file", "needs token_file"),
    ],
)
def test_faults_of_a_login(method: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AuthSettings(method=method)


def test_a_token_in_the_file_is_an_unknown_setting_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, 'address = "http://127.0.0.1:1"\ntoken = "s.sensitive"')
    assert "token: is not a setting" in str(raised.value)
    assert "sensitive" not in str(raised.value)


@pytest.mark.parametrize("values", [{"path": "a/../b"}, {"path": "./a"}, {"path": "a", "mount": "x/.."}])
def test_a_path_with_a_segment_that_a_client_resolves_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must not have a segment \. or \.\."):
        SecretSettings(name="a", source="kv", files=(FILE,), **values)
