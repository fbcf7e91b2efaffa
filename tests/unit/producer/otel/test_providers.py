from __future__ import annotations

import pytest

from producer.otel.providers import resource_of


@pytest.mark.parametrize(
    ("environ", "resource"),
    [
        ({}, {}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=1, b=x%2Cy,,bad"}, {"a": "1", "b": "x,y"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a", "OTEL_SERVICE_NAME": "b"}, {"service.name": "b"}),
    ],
)
def test_the_resource_is_that_of_opentelemetrys_variables(environ: dict[str, str], resource: dict[str, str]) -> None:
    assert resource_of(environ) == resource
