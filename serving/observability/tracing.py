"""OpenTelemetry traces of recommendations, where a collector is configured (OTEL_EXPORTER_OTLP_ENDPOINT)."""

import os
import time
from collections.abc import Mapping
from typing import Any

CONFIGURED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Tracer:
    """Spans written after the answer, from the seconds that each stage took, so that a request pays next to nothing."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("two_tower")
        self._propagator = TraceContextTextMapPropagator()

    def record(
        self, name: str, headers: Mapping[str, str], stages: Mapping[str, float], said: Mapping[str, Any]
    ) -> None:
        """One span that ends now, with one span a stage inside, in the order of the stages.

        headers: `traceparent` joins the caller's trace. stages: seconds by name; `total` is that of the whole.
        """
        from opentelemetry import trace

        end = time.time_ns()
        begin = end - int(stages["total"] * 1e9)
        parent = self._propagator.extract(headers)
        attributes = {key: value for key, value in said.items() if value is not None}
        whole = self._tracer.start_span(
            name, parent, kind=trace.SpanKind.SERVER, attributes=attributes, start_time=begin
        )
        inside, at = trace.set_span_in_context(whole), begin
        for stage, seconds in stages.items():
            if stage != "total":
                span = self._tracer.start_span(stage, inside, start_time=at)
                at += int(seconds * 1e9)
                span.end(at)
        whole.end(end)

    def stop(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def tracer() -> Tracer | None:
    """The tracer that the environment configures; None without an endpoint.

    Raises ImportError where an endpoint is given and the OpenTelemetry SDK is not installed.
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
