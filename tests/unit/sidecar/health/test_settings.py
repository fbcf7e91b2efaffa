from __future__ import annotations

import pytest

from sidecar.health.settings import HealthSettings


def test_a_verdict_that_goes_stale_sooner_than_it_is_renewed_is_refused() -> None:
    with pytest.raises(ValueError, match="twice interval_s"):
        HealthSettings(interval_s=5, stale_s=6)
