from __future__ import annotations

import pytest

from broker.api.auth.quota import Quota


def test_quota_gives_back_with_time() -> None:
    quota = Quota(requests_per_s=10, burst=2)

    assert [quota.wait_s("a", 100.0) for _ in range(2)] == [0.0, 0.0]
    assert quota.wait_s("a", 100.0) == pytest.approx(0.1)
    assert quota.wait_s("a", 100.1) == 0.0


def test_given_back_request_was_never_counted() -> None:
    quota = Quota(requests_per_s=10, burst=1)
    assert quota.wait_s("a", 100.0) == 0.0
    quota.give_back("a")
    quota.give_back("somebody else")
    assert quota.wait_s("a", 100.0) == 0.0
    assert quota.wait_s("a", 100.0) == pytest.approx(0.1)
