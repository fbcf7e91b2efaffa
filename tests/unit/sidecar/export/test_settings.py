from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.export.settings import Endpoint, OtlpSettings, parse_endpoint, standard_settings


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://collector:4317", Endpoint("dns:///collector:4317", tls=False)),
        ("https://collector", Endpoint("dns:///collector:4317", tls=True)),
        ("http://[::1]:9", Endpoint("dns:///[::1]:9", tls=False)),
    ],
)
def test_an_endpoint_says_host_port_and_tls(url: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(url) == endpoint


@pytest.mark.parametrize("url", ["collector:4317", "ftp://collector", "http://", "http://user:secret@collector"])
def test_another_endpoint_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint must") as caught:
        OtlpSettings(endpoint=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("headers", [{"sp ace": "secret"}, {"a": "sec\nret"}])
def test_a_header_that_grpc_cannot_send_is_refused_without_being_repeated(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="headers: entry 1 ") as caught:
        OtlpSettings(headers=headers)
    assert "sec" not in str(caught.value)


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ValueError, match="client_certificate_file and client_key_file go together"):
        OtlpSettings(client_certificate_file=Path("c.pem"))


def test_the_standard_variables_become_settings() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:4317",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/c.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/k.pem",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=fx,x-note=a%20b",
        "OTEL_METRIC_EXPORT_INTERVAL": "30000",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "DELTA",
    }
    found, faults = standard_settings(environ)
    assert faults == []
    assert found == {
        "endpoint": "https://c:4317",
        "compression": "gzip",
        "certificate_file": "/ca.pem",
        "client_certificate_file": "/c.pem",
        "client_key_file": "/k.pem",
        "timeout_s": 2.5,
        "headers": {"x-team": "fx", "x-note": "a b"},
        "metrics_interval_s": 30.0,
        "temporality": "delta",
    }


@pytest.mark.parametrize(("insecure", "scheme"), [("true", "http"), ("false", "https"), ("", "https")])
def test_an_endpoint_without_a_scheme_is_as_secure_as_the_variable_says(insecure: str, scheme: str) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317", "OTEL_EXPORTER_OTLP_INSECURE": insecure}
    assert standard_settings(environ)[0]["endpoint"] == f"{scheme}://c:4317"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://c", "endpoint must be http://host:port or https://host:port"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "must be one of none, gzip, is a text of 4 characters"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b", "entry 2 is not key=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=x%0ay", "entry 1 has a value with characters that a header cannot have"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "must be whole milliseconds, is a text of 4 characters"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10", "is in milliseconds: 0.01 s is not within 0.1 and 300 s"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1", "must be whole milliseconds, is a text of 2 characters"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "any", "must be one of cumulative, delta, lowmemory"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "entry 2 is not key=value"),
    ],
)
def test_a_standard_variable_that_cannot_be_used_is_ignored_and_named(variable: str, value: str, words: str) -> None:
    found, [fault] = standard_settings({variable: value})
    assert found == {}
    assert fault.startswith(f"{variable}: {words}")


@pytest.mark.parametrize(
    ("variable", "value", "setting", "wanted"),
    [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP", "compression", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "LowMemory", "temporality", "delta"),
    ],
)
def test_the_case_of_a_listed_value_does_not_count(variable: str, value: str, setting: str, wanted: str) -> None:
    assert standard_settings({variable: value}) == ({setting: wanted}, [])


def test_an_endpoint_for_another_protocol_is_ignored() -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    found, [fault] = standard_settings(environ)
    assert found == {}
    assert "by OTEL_EXPORTER_OTLP_PROTOCOL" in fault


def test_a_client_certificate_without_its_key_is_ignored() -> None:
    found, [fault] = standard_settings({"OTEL_EXPORTER_OTLP_CLIENT_KEY": "/k.pem"})
    assert (found, fault.endswith("go together, give both or none")) == ({}, True)
