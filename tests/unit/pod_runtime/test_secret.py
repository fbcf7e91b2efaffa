from __future__ import annotations

import pickle

import pytest

from pod_runtime.backoff import Backoff
from pod_runtime.secret import Secret


def test_a_secret_never_shows_in_text() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {secret:>10} {[secret]}"


def test_a_secret_does_not_pickle() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("hunter2"))


def test_delays_grow_to_the_cap() -> None:
    policy = Backoff(base_s=1, cap_s=8)
    assert [policy.delay_s(attempt, 1.0) for attempt in range(5)] == [1, 2, 4, 8, 8]


def test_jitter_keeps_half_of_the_delay() -> None:
    assert Backoff(base_s=2, cap_s=2).delay_s(3, 0.0) == 1
