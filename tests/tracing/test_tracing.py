"""Traces of a whole headrace, from the client through Envoy and the services to the agent of a scheduler."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import dask.config
import pytest
from tests.e2e.running import Running, running, wait_until
from tests.tracing.conftest import Collector
from tests.tracing.spans import Span

from headrace import Gateway, errors
from headrace.tracing import Tracing

CREATE = "headrace.v1.ClusterService/CreateCluster"
GET = "headrace.v1.ClusterService/GetCluster"
ENROLL = "headrace.internal.v1.AgentService/Enroll"
SESSION = "headrace.internal.v1.AgentService/Session"
KEYS = "headrace.v1.AuthService/ListSigningKeys"
START = "start of a scheduler"
STEP = "step of reconciling"


@pytest.fixture(scope="module")
def headrace(collector: Collector) -> Iterator[Running]:
    services = {f"HEADRACE_{name}_TRACING_ENDPOINT": collector.endpoint for name in ("AUTH", "CONTROLLER", "PROXY")}
    agents = {"HEADRACE_CONTROLLER_AGENT_TRACING_ENDPOINT": collector.endpoint}
    with tempfile.TemporaryDirectory(prefix="hr-tr-") as name:
        environment = services | agents | {"OTEL_BSP_SCHEDULE_DELAY": "100"}
        with running(Path(name), environment=environment) as running_headrace:
            yield running_headrace


@pytest.fixture
def gateway(headrace: Running, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(headrace.data))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with dask.config.set({"headrace.tracing.endpoint": collector.endpoint}), Gateway() as gateway:
        yield gateway


def wait_for(collector: Collector, wanted: Callable[[Span], object]) -> Span:
    """The first span that is wanted, once it has come."""
    wait_until(lambda: any(wanted(span) for span in collector.spans()))
    return next(span for span in collector.spans() if wanted(span))


def test_one_trace_from_the_client_through_envoy_to_the_controller(gateway: Gateway, collector: Collector) -> None:
    gateway.new_cluster().close()
    client = wait_for(collector, lambda span: (span.service, span.name) == ("headrace-client", CREATE))
    service = wait_for(collector, lambda span: (span.service, span.name) == ("headrace-controller", CREATE))
    envoy = wait_for(collector, lambda span: span.service == "headrace-envoy" and span.id == service.parent)
    wait_for(collector, lambda span: span.service == "headrace-envoy" and span.parent == client.id)
    assert {client.trace, envoy.trace} == {service.trace}
    assert client.parent == ""


def test_the_agents_start_and_its_session_are_below_its_enrolment(gateway: Gateway, collector: Collector) -> None:
    with gateway.new_cluster():
        pass
    session = wait_for(collector, lambda span: span.name == SESSION)  # it ends with the cluster
    start = wait_for(collector, lambda span: (span.service, span.id) == ("headrace-agent", session.parent))
    enrolment = wait_for(collector, lambda span: span.name == ENROLL and span.id == start.parent)
    assert start.name == START
    assert {session.service, enrolment.service} == {"headrace-controller"}
    assert start.trace == session.trace == enrolment.trace


def test_one_trace_from_the_users_create_to_the_running_cluster(gateway: Gateway, collector: Collector) -> None:
    with gateway.new_cluster() as cluster:
        pass
    step = wait_for(collector, lambda span: span.name == STEP and span.cluster == cluster.name)
    client = wait_for(collector, lambda span: span.service == "headrace-client" and span.trace == step.trace)
    create = wait_for(collector, lambda span: span.service == "headrace-controller" and span.id == step.parent)
    enrolment = wait_for(collector, lambda span: span.name == ENROLL and span.trace == client.trace)
    start = wait_for(collector, lambda span: span.name == START and span.trace == client.trace)
    assert client.name == create.name == CREATE
    assert client.trace == create.trace
    assert enrolment.parent == create.id
    assert start.parent == enrolment.id


def test_calls_between_services_are_traces_of_their_own(gateway: Gateway, collector: Collector) -> None:
    gateway.list_clusters()  # the controller checks the token with the keys of auth
    answered = wait_for(collector, lambda span: (span.service, span.name) == ("headrace-auth", KEYS))
    asked = wait_for(collector, lambda span: span.id == answered.parent)
    assert asked.name == KEYS
    assert asked.service != "headrace-auth"
    assert asked.trace == answered.trace


def test_calls_that_fail_have_spans_too(gateway: Gateway, collector: Collector) -> None:
    with pytest.raises(errors.ClusterNotFound):
        gateway.get_cluster("none-of-this-name")
    client = wait_for(collector, lambda span: (span.service, span.name) == ("headrace-client", GET))
    wait_for(collector, lambda span: span.service == "headrace-controller" and span.trace == client.trace)


@pytest.mark.parametrize(
    ("modules", "package"),
    [
        ("headrace.client, headrace._wire.connection, headrace.agent.scheduler, headrace.agent.worker", ""),
        ("headrace_controller.app, headrace_auth.app, headrace_proxy.app", ".exporter"),  # redis loads its metrics
    ],
)
def test_nothing_of_opentelemetry_is_loaded_while_it_is_off(modules: str, package: str) -> None:
    code = f"import sys, {modules}; print(sum(name.startswith('opentelemetry{package}') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_without_opentelemetry_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(errors.HeadraceError, match=r"pip install 'headrace\[tracing\]'"):
        Tracing("http://127.0.0.1:4317", "x")
