"""A collector: OpenTelemetry's own if HEADRACE_TEST_COLLECTOR names it (`make test-tracing`), else one of the tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.running import wait_until
from tests.held_port import held_ports
from tests.tracing.spans import Span, printed_spans, receiver

CONFIGURATION = """
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{debug: {{verbosity: detailed, sampling_initial: 100000}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}
"""


@dataclass(frozen=True)
class Collector:
    """Where spans are sent to, and what has come."""

    endpoint: str
    spans: Callable[[], list[Span]]


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    if binary := os.environ.get("HEADRACE_TEST_COLLECTOR"):
        yield from _real(binary, tmp_path_factory.mktemp("collector"))
    else:
        with receiver() as received:
            yield Collector(received.endpoint, lambda: list(received.spans))


def _real(binary: str, directory: Path) -> Iterator[Collector]:
    with held_ports(1) as (port,):
        settings, log = directory / "collector.yaml", directory / "collector.log"
        settings.write_text(CONFIGURATION.format(port=port))
        with log.open("wb") as output:
            process = subprocess.Popen([binary, "--config", str(settings)], stdout=output, stderr=output)
        try:
            wait_until(lambda: "Everything is ready" in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield Collector(f"http://127.0.0.1:{port}", lambda: printed_spans(log))
        finally:
            process.terminate()
            process.wait(20)
