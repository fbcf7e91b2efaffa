from __future__ import annotations

from typing import Any

import pytest

from broker.venue.settings import VenueSettings

LIVE: dict[str, Any] = {"rest_url": "https://api-fxtrade.oanda.com", "stream_url": "https://stream-fxtrade.oanda.com"}


def test_practice_is_the_default() -> None:
    assert VenueSettings(account="101").rest_url == "https://api-fxpractice.oanda.com"


def test_live_needs_to_be_meant() -> None:
    with pytest.raises(ValueError, match="live_acknowledged"):
        VenueSettings(account="001", **LIVE)
    assert VenueSettings(account="001", live_acknowledged=True, **LIVE).live_acknowledged


def test_environments_do_not_mix() -> None:
    with pytest.raises(ValueError, match="mix"):
        VenueSettings(account="101", rest_url=LIVE["rest_url"], live_acknowledged=True)


def test_the_venues_own_hosts_need_https() -> None:
    with pytest.raises(ValueError, match="https only"):
        VenueSettings(account="101", rest_url="http://api-fxpractice.oanda.com")


def test_other_schemes_are_refused() -> None:
    with pytest.raises(ValueError, match="must start with"):
        VenueSettings(account="101", rest_url="ftp://localhost")


@pytest.mark.parametrize(
    ("changed", "environment"),
    [
        ({}, "practice"),
        ({**LIVE, "live_acknowledged": True}, "live"),
        ({"rest_url": "http://localhost:1", "stream_url": "http://localhost:2"}, "other"),
    ],
)
def test_environment_is_that_of_the_host(changed: dict[str, Any], environment: str) -> None:
    assert VenueSettings(account="101", **changed).environment == environment
