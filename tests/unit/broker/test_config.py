from __future__ import annotations

from pathlib import Path

import pytest

from broker.config import read_config
from pod_runtime.config import ConfigError

ACCOUNT = {"BROKER__VENUE__ACCOUNT": "101-004-1234567-001"}


def test_account_is_all_that_must_be_said() -> None:
    config = read_config(None, ACCOUNT)

    assert (config.api.port, config.api.tls) == (8080, "required")
    assert config.credentials.directory == Path("/run/secrets/broker")
    assert config.watchdog.stall_s == 10.0


def test_environment_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text('[venue]\naccount = "a"\n[api]\nport = 1\n')
    config = read_config(path, {**ACCOUNT, "BROKER__API__PORT": "2", "BROKER__HISTORY__CA_FILE": "/etc/ca.crt"})

    assert (config.venue.account, config.api.port) == ("101-004-1234567-001", 2)
    assert config.history.ca_file == Path("/etc/ca.crt")


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("BROKER__API__TLS", "perhaps", "api.tls: must be one of required, off"),
        ("BROKER__API__PORT", "99999", "api.port: must be at most 65535, is 99999"),
        ("BROKER__WATCHDOG__STALL_S", "-1", "watchdog.stall_s: must be at least 0"),
        ("BROKER__LOG__LEVEL", "LOUD", "log.level: must be one of DEBUG"),
        ("BROKER__CREDENTIALS__POLLS", "1", "credentials.polls: is not a setting; did you mean 'poll_s'?"),
        ("BROKER__VENUE__REST_URL", "https://api-fxtrade.oanda.com", "mix the practice and the live environment"),
    ],
)
def test_fault_is_named_with_its_key(name: str, value: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(None, {**ACCOUNT, name: value})

    assert fault in str(caught.value)


def test_live_venue_needs_an_acknowledgement() -> None:
    live = {
        **ACCOUNT,
        "BROKER__VENUE__REST_URL": "https://api-fxtrade.oanda.com",
        "BROKER__VENUE__STREAM_URL": "https://stream-fxtrade.oanda.com",
    }
    with pytest.raises(ConfigError, match="set live_acknowledged = true"):
        read_config(None, live)

    assert read_config(None, {**live, "BROKER__VENUE__LIVE_ACKNOWLEDGED": "true"}).venue.live_acknowledged
