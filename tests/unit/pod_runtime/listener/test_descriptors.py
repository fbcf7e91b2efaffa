from __future__ import annotations

import resource

import pytest

from pod_runtime.listener.descriptors import raise_descriptor_limit


def test_soft_limit_becomes_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    set_: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: set_.append((which, limits)))

    assert raise_descriptor_limit() == 4096
    assert set_ == [(resource.RLIMIT_NOFILE, (4096, 4096))]


def test_no_limit_is_a_number_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)

    assert raise_descriptor_limit() > 10**9
