from __future__ import annotations

from pathlib import Path

import pytest

from pod_runtime.config import ConfigError
from sidecar.config import SidecarConfig, read_config

VAULT = {"VAULT_ADDR": "https://vault:8200", "VAULT_CACERT": "/ca.pem"}


def read(text: str, tmp_path: Path, **environ: str) -> SidecarConfig:
    file = tmp_path / "sidecar.toml"
    file.write_text(text)
    return read_config(file, environ)


def test_no_file_at_all_is_a_configuration() -> None:
    assert read_config(None, {}).health.address == ":8000"


def test_standard_variables_fill_what_is_open(tmp_path: Path) -> None:
    found = read("", tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://c:4317", OTEL_EXPORTER_OTLP_TIMEOUT="2500", **VAULT)
    assert (found.otlp.endpoint, found.otlp.timeout_s) == ("http://c:4317", 2.5)
    assert (found.secrets.address, found.secrets.ca_cert) == ("https://vault:8200", Path("/ca.pem"))


def test_the_file_goes_before_a_standard_variable_and_our_own_before_the_file(tmp_path: Path) -> None:
    text = '[otlp]\nendpoint = "http://file:4317"\n[secrets]\naddress = "http://127.0.0.1:1"'
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://standard:4317", "SIDECAR__SECRETS__ADDRESS": "http://127.0.0.1:2"}
    found = read(text, tmp_path, **environ)
    assert (found.otlp.endpoint, found.secrets.address) == ("http://file:4317", "http://127.0.0.1:2")


def test_a_token_in_the_environment_is_nowhere(tmp_path: Path) -> None:
    assert "hunter2" not in repr(read("", tmp_path, VAULT_TOKEN="hunter2", **VAULT))


def test_a_fault_of_the_file_is_told_and_one_of_a_standard_variable_stops_no_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read("[metrics]\nadress = 1", tmp_path, OTEL_EXPORTER_OTLP_TIMEOUT="soon")
    assert caught.value.faults == ["metrics.adress: is not a setting; did you mean 'address'?"]


def test_a_socket_path_that_no_socket_can_have_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f'[telemetry]\nsocket = "/{"s" * 107}"', tmp_path)
    assert caught.value.faults == [
        "telemetry: socket: the path has 108 bytes, a Unix socket takes 107; give a shorter one"
    ]


def test_panels_of_the_console_are_a_setting(tmp_path: Path) -> None:
    text = '[[console.panels]]\ntitle = "Jobs"\ninstrument = "jobs"\nshow = "rate"'
    assert [panel.title for panel in read(text, tmp_path).console.panels] == ["Jobs"]
