"""OpenTelemetry traces of recommendations, if a collector is configured (OTEL_EXPORTER_OTLP_ENDPOINT)."""

import os
import time
from collections.abc import Mapping
from typing import Any

CONFIGURED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracer:
    """Creates spans after the response, from the seconds of each stage, so that a request costs next to nothing."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("two_tower")
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self, name: str, headers: Mapping[str, str], stages: Mapping[str, float], attributes: Mapping[str, Any]
    ) -> None:
        """Record a span that ends now, with one child span per stage, in the order of the stages.

        Args:
            name: name of the span.
            headers: request headers; `traceparent` joins the caller's trace.
            stages: seconds by stage; `total` is the whole request.
            attributes: attributes of the span; those that are None are left out.
        """
        from opentelemetry import trace

        end = time.time_ns()
        begin = end - int(stages["total"] * 1e9)
        parent = self._propagator.extract(headers)
        known = {key: value for key, value in attributes.items() if value is not None}
        whole = self._tracer.start_span(name, parent, kind=trace.SpanKind.SERVER, attributes=known, start_time=begin)
        inside, at = trace.set_span_in_context(whole), begin
        for stage, seconds in stages.items():
            if stage != "total":
                span = self._tracer.start_span(stage, inside, start_time=at)
                at += int(seconds * 1e9)
                span.end(at)
        whole.end(end)

    def stop(self) -> None:
        """Send the remaining spans."""
        self._provider.shutdown()


def tracer() -> Tracer | None:
    """Create the tracer that the environment configures; None without an endpoint.

    Raises:
        ImportError: if an endpoint is configured and the OpenTelemetry SDK is not installed.
    """
    if not any(os.environ.get(name) for name in CONFIGURED_BY):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "two-tower"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider)
