"""A gateway that speaks our contract and remembers what it was asked, and the command line in this process."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.config as dask_config
import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from headrace._wire.status import to_status
from headrace.errors import BadCredentials, ClusterNotFound, HeadraceError
from headrace.v1 import auth_service_pb2 as auth
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as clusters

CLUSTER = "c" + "a2" * 9 + "b"
TOKEN = "the-right-token"
CONTRACT = (
    auth.DESCRIPTOR.services_by_name["AuthService"],
    clusters.DESCRIPTOR.services_by_name["ClusterService"],
)


def make_cluster(phase: cluster_pb2.Phase.ValueType = cluster_pb2.PHASE_RUNNING) -> cluster_pb2.Cluster:
    group = cluster_pb2.WorkerGroup(name="default", size=4)
    made = cluster_pb2.Cluster(name=f"clusters/{CLUSTER}", owner="users/ann")
    made.spec.CopyFrom(cluster_pb2.ClusterSpec(alias="mine", worker_groups=[group]))
    made.status.phase = phase
    made.status.worker_groups.add(name="default", desired=4, running=3)
    made.create_time.GetCurrentTime()
    return made


class FakeGateway:
    """Answers as if ann had one cluster; each RPC is the method of that name."""

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self.cluster = make_cluster()
        self.address = ""

    def last(self) -> Message:
        return self.asked[-1]

    def login(self, request: auth.LoginRequest) -> auth.LoginResponse:
        if request.token.token != TOKEN and request.password.password != "correct horse":
            raise BadCredentials("wrong password or token")
        answer = auth.LoginResponse(access_token="jwt", user=auth.User(name="users/ann"))
        answer.expire_time.GetCurrentTime()
        answer.expire_time.seconds += 900
        return answer

    def who_am_i(self, request: auth.WhoAmIRequest) -> auth.User:
        return auth.User(name="users/ann", roles=[auth.ROLE_OWNER], groups=["physics"], method="api-token")

    def list_signing_keys(self, request: auth.ListSigningKeysRequest) -> auth.ListSigningKeysResponse:
        return auth.ListSigningKeysResponse(signing_keys=[auth.SigningKey(key_id="1")])

    def create_api_token(self, request: auth.CreateApiTokenRequest) -> auth.CreateApiTokenResponse:
        return auth.CreateApiTokenResponse(api_token=auth.ApiToken(name="apiTokens/t1"), secret=TOKEN)

    def list_api_tokens(self, request: auth.ListApiTokensRequest) -> auth.ListApiTokensResponse:
        tokens = [auth.ApiToken(name=f"apiTokens/t{number}", note="for cron") for number in (1, 2)]
        page = int(request.page_token or 0)
        return auth.ListApiTokensResponse(api_tokens=[tokens[page]], next_page_token="" if page else "1")

    def delete_api_token(self, request: auth.DeleteApiTokenRequest) -> auth.DeleteApiTokenResponse:
        return auth.DeleteApiTokenResponse()

    def create_dashboard_link(self, request: auth.CreateDashboardLinkRequest) -> auth.CreateDashboardLinkResponse:
        return auth.CreateDashboardLinkResponse(path=f"/clusters/{CLUSTER}/{request.page}?link=x")

    def get_cluster(self, request: clusters.GetClusterRequest) -> cluster_pb2.Cluster:
        if request.name not in {self.cluster.name, "clusters/~mine"}:
            raise ClusterNotFound(f"there is no cluster {request.name.removeprefix('clusters/~')}")
        return self.cluster

    def list_clusters(self, request: clusters.ListClustersRequest) -> clusters.ListClustersResponse:
        return clusters.ListClustersResponse(clusters=[self.cluster])

    def create_cluster(self, request: clusters.CreateClusterRequest) -> cluster_pb2.Cluster:
        return self.cluster

    def scale_cluster(self, request: clusters.ScaleClusterRequest) -> cluster_pb2.Cluster:
        return self.cluster

    def adapt_cluster(self, request: clusters.AdaptClusterRequest) -> cluster_pb2.Cluster:
        return self.cluster

    def stop_cluster(self, request: clusters.StopClusterRequest) -> cluster_pb2.Cluster:
        self.cluster.status.phase = cluster_pb2.PHASE_STOPPED
        return self.cluster

    def stop_all_clusters(self, request: clusters.StopAllClustersRequest) -> clusters.StopAllClustersResponse:
        self.cluster.status.phase = cluster_pb2.PHASE_STOPPED
        return clusters.StopAllClustersResponse(names=[self.cluster.name])

    def watch_clusters(self, request: clusters.WatchClustersRequest) -> Iterator[clusters.WatchClustersResponse]:
        event = cluster_pb2.ClusterEvent(id="1", type="SchedulerStarted", message="the scheduler runs")
        yield clusters.WatchClustersResponse(event=event)
        yield clusters.WatchClustersResponse(cluster=self.cluster)

    def list_cluster_events(self, request: clusters.ListClusterEventsRequest) -> clusters.ListClusterEventsResponse:
        event = cluster_pb2.ClusterEvent(id="1", type="WorkerLost", message="a worker died")
        event.severity = cluster_pb2.SEVERITY_WARNING
        return clusters.ListClusterEventsResponse(events=[event])

    def read_logs(self, request: clusters.ReadLogsRequest) -> Iterator[clusters.ReadLogsResponse]:
        yield clusters.ReadLogsResponse(process="scheduler", lines=b"one\ntwo\n")

    def connect_cluster(self, request: clusters.ConnectClusterRequest) -> clusters.ConnectClusterResponse:
        return clusters.ConnectClusterResponse()


def handlers(fake: FakeGateway, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
    """Makes gRPC's handlers of the methods that the fake has."""
    found: dict[str, grpc.RpcMethodHandler[Message, Message]] = {}
    for method in service.methods:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", method.name.replace("WhoAmI", "WhoAm_I")).lower()
        if not hasattr(fake, name):
            continue
        make = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
        found[method.name] = make(
            answering(fake, getattr(fake, name)),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(service.full_name, found)


def answering(fake: FakeGateway, method: Callable[[Message], Any]) -> Callable[[Message, grpc.ServicerContext], Any]:
    """Remembers the request, and turns our errors into statuses."""

    def answer(request: Message, context: grpc.ServicerContext) -> Any:
        if not request.DESCRIPTOR.name.startswith(("Login", "WhoAmI")):
            fake.asked.append(request)
        try:
            return method(request)
        except HeadraceError as error:
            status = to_status(error)
            context.set_trailing_metadata(status.trailing_metadata)
            context.abort(status.code, status.details)

    return answer


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeGateway]:
    """A fake gateway, configured as the one to talk to."""
    fake = FakeGateway()
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers([handlers(fake, service) for service in CONTRACT])
    fake.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    monkeypatch.setenv("DASK_HEADRACE__ADDRESS", fake.address)
    monkeypatch.setenv("HEADRACE_TOKEN", TOKEN)
    monkeypatch.setenv("DASK_HEADRACE__AUTH__TYPE", "token")
    yield fake
    server.stop(grace=None).wait()


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Generator[Cli]:
    """Runs the command line in this process, errors and exit codes included."""
    from headrace.cli import main

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["headrace", *arguments])
        # It reads files and environment once in the life of a process, otherwise.
        dask_config.refresh(paths=[os.environ["DASK_CONFIG"]])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    yield run
    monkeypatch.undo()
    dask_config.refresh()
