from __future__ import annotations

import pytest

from broker.history.settings import HistorySettings


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/db", "must start with one of"),
        ("no url", "must start with one of"),
        ("sqlite+aiosqlite://", "names no database"),
        ("postgresql+asyncpg://user:secret-pw@host/db", "user or password"),
        ("postgresql+asyncpg://user@host/db", "user or password"),
    ],
)
def test_url_that_cannot_be_used_is_refused_without_its_password(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        HistorySettings(url=url)

    assert "secret-pw" not in str(caught.value)
