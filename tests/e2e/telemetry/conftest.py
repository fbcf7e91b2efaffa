from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.otlp_receiver import OtlpReceiver


@pytest.fixture
async def receiver() -> AsyncIterator[OtlpReceiver]:
    async with OtlpReceiver() as made:
        yield made
