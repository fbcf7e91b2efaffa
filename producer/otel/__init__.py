"""Front for OpenTelemetry's API and `logging`: `otel.install(...)` makes instrumented code emit events."""

from producer.otel.providers import OtelFront, ProvidersSetError, install

__all__ = ["OtelFront", "ProvidersSetError", "install"]
