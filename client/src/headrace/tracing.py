"""Tracing with OpenTelemetry, to a collector. Nothing of OpenTelemetry is imported unless an endpoint is set.

Spans are related across processes by W3C's traceparent in the metadata of calls. Sampling, resources and headers are
set by OpenTelemetry's own environment variables, such as OTEL_TRACES_SAMPLER and OTEL_RESOURCE_ATTRIBUTES.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from opentelemetry.trace import Span

KEY = "traceparent"
TRACEPARENT = "TRACEPARENT"
"""Variable of the environment that tells a process which span those of its start are below."""
Kind = Literal["CLIENT", "SERVER", "INTERNAL"]


_open: ContextVar[str] = ContextVar("_open", default="")


def open_traceparent() -> str:
    """Return what tells another process that its spans are below the span that is open here. "" if nothing traces."""
    return _open.get()


def traceparent(span: Span | None = None) -> str:
    """Return what tells another process that its spans are below this one. Default: the span that is open here.

    "" if there is none.
    """
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = dict[str, str]()
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span) if span else None)
    return carrier.get(KEY, "")


class Tracing:
    """Makes spans and sends them in the background.

    Parameters
    ----------
    endpoint
        Collector that takes OTLP over gRPC, such as "http://127.0.0.1:4317".
    service
        Name of this part in traces.
    """

    def __init__(self, endpoint: str, service: str) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise HeadraceError(
                f"traces are to be sent to {endpoint}, but OpenTelemetry is not installed here: "
                "pip install 'headrace[tracing]'"
            ) from error
        except ImportError as error:
            raise HeadraceError(
                f"traces are to be sent to {endpoint}, but OpenTelemetry cannot be used here ({error}): a package "
                "(xds-protos?) has older files of it; pip install --force-reinstall --no-deps opentelemetry-proto"
            ) from error
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("headrace")
        self._propagator = TraceContextTextMapPropagator()
        self._trace = trace

    def start(
        self,
        name: str,
        kind: Kind,
        parent: str = "",
        attributes: Mapping[str, str | int] | None = None,
        began: int | None = None,
    ) -> Span:
        """Begin a span that the caller ends.

        Parameters
        ----------
        parent
            Traceparent of the caller. "" means the span that is open here, if one is.
        began
            Time at which it began, in nanoseconds since the epoch. Default: now.
        """
        context = self._propagator.extract({KEY: parent}) if parent else None
        return self._tracer.start_span(name, context, self._trace.SpanKind[kind], attributes, start_time=began)

    @contextmanager
    def within(self, span: Span) -> Generator[None]:
        """Have a span open while the context is. An exception is recorded."""
        token = _open.set(traceparent(span))
        try:
            with self._trace.use_span(span, end_on_exit=True):
                yield
        finally:
            _open.reset(token)

    def fail(self, span: Span, description: str) -> None:
        """Mark a span as failed."""
        span.set_status(self._trace.StatusCode.ERROR, description)

    def close(self, seconds: float = 0.0) -> None:
        """Send what is left. Wait for so long at most; the process does not wait for it at its end."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(seconds)
