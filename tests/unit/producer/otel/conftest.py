from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.metrics import Meter

from producer.declare import Catalogue
from producer.emitter import Emitter
from producer.otel.metrics import EventMeterProvider
from producer.settings import ProducerSettings
from producer.stdlib_logging import LOG_EVENTS


@pytest.fixture
def emitter(tmp_path: Path) -> Iterator[Emitter]:
    settings = ProducerSettings(producer_id="bakery", spool_directory=tmp_path, strict=True)
    made = Emitter(settings, catalogue=Catalogue(LOG_EVENTS), clock=lambda: 7)
    yield made
    made.close()


@pytest.fixture
def provider(emitter: Emitter) -> EventMeterProvider:
    return EventMeterProvider(emitter, buckets={"bakery.heat": (100.0, 200.0)})


@pytest.fixture
def meter(provider: EventMeterProvider) -> Meter:
    return provider.get_meter("bakery")
