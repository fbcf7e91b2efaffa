from __future__ import annotations

from typing import Any

import pytest

from producer.settings import ProducerSettings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"producer_id": "My Broker"}, r"producer_id must be \[a-z0-9._-\]"),
        ({"spool_bytes": 3 << 20}, "spool_bytes must hold four segments"),
        ({"backoff_cap_s": 0.01}, "backoff_cap_s must be at least backoff_s"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ProducerSettings(**{"producer_id": "bakery", **changes})


def test_the_defaults_work() -> None:
    assert ProducerSettings(producer_id="bakery").batch_age_ms == 5.0
