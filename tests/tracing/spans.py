"""Spans as a collector received them."""

from __future__ import annotations

import re
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Status


class Span(NamedTuple):
    """A span; identifiers are hexadecimal, and `parent` is "" at the root of a trace."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    kind: str
    cluster: str = ""
    code: str = ""
    failed: bool = False


@dataclass
class Received(trace_service_pb2_grpc.TraceServiceServicer):
    """A receiver of OTLP over gRPC in this process. The real collector is in `test_collector.py`."""

    spans: list[Span] = field(default_factory=list[Span])
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any) -> Any:  # noqa: N802
        for resource in request.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                kind = type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").title()
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                facts = {one.key: one.value.string_value for one in span.attributes}
                cluster = facts.get("headrace.cluster", "")
                code, failed = facts.get("rpc.response.status_code", ""), span.status.code == Status.STATUS_CODE_ERROR
                self.spans.append(Span(names["service.name"], span.name, *ids, kind, cluster, code, failed))
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def receiver() -> Generator[Received]:
    received = Received()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(received, server)
    received.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield received
    finally:
        server.stop(0).wait()


def printed_spans(log: Path) -> list[Span]:
    """The spans that a collector's exporter "debug" has printed."""
    spans, service = list[Span](), ""
    for piece in re.split(r"(?=ResourceSpans #)|\n(?=Span #)", log.read_text()):
        if piece.startswith("Span #"):
            facts = dict(re.findall(r"^    ([A-Z][A-Za-z ]*?) *: (.*)$", piece, re.MULTILINE))
            if "Start time" not in facts:  # it is being written
                continue
            ids = facts["Trace ID"], facts["ID"], facts["Parent ID"].strip()
            cluster = re.search(r"headrace\.cluster: Str\((.*)\)", piece)
            spans.append(Span(service, facts["Name"], *ids, facts["Kind"], cluster[1] if cluster else ""))
        elif found := re.search(r"service\.name: Str\((.*)\)", piece):
            service = found[1]
    return spans
