from __future__ import annotations

import pickle

import pytest

from pod_runtime.secret import Secret


def test_a_secret_never_shows_in_text() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {secret:>10} {[secret]}"


def test_a_secret_does_not_pickle() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("hunter2"))
