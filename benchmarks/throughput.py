"""Requests per second through each system's edge, sent by h2load: GET of one cluster, LIST of many.

A gRPC call is a POST over HTTP/2 whose body is a length and a message. h2load decodes nothing and uses 0.06 ms of a
processor for a request. Clients that decode (k6) use up to half of a machine that the server shares.
"""

import base64
import json
import re
import struct
import subprocess
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import systems

SECONDS = 5


def measure(table, running: list[systems.System], rounds: int, listed: int) -> None:
    h2load = systems.h2load()
    rows = {
        "GET one": "GET",
        "GET one, no older than the caller's last": "GET SEEN",
        f"LIST {listed}": "LIST",
        f"LIST {listed}, view FULL": "LIST FULL",
    }
    with ExitStack() as stack:
        sides = [_side(system, stack) for system in running]
        for side in sides:
            side.fill(listed)
        for _ in range(rounds):
            for row, what in rows.items():
                for users in (1, 64):
                    # The other systems answer GET with no promise to skip, and have one view.
                    for side in sides if what in ("GET", "LIST") else [s for s in sides if s.name == "headrace"]:
                        rate = _load(h2load, side.request(what), users)
                        table.add(f"{row}, {users} at once, requests/s", side.name, rate)
                        # A server still works on requests whose caller has gone: its next answer comes after these,
                        # and then the next system has the machine alone.
                        side.request("GET")
        for side in sides:
            side.empty()


def measure_dashboards(table, running: list[systems.System], rounds: int) -> None:
    """A small file of an open dashboard's page, as a browser asks for dozens of them."""
    h2load = systems.h2load()
    for _ in range(rounds):
        for system in running:
            with system.driver() as driver:
                page = driver.ask("dashboard_page")
                for users in (1, 16):
                    rate = _load(h2load, Request(page["url"], {}, page["bytes"]), users)
                    table.add(f"file of a dashboard's page, {users} at once, requests/s", system.name, rate)
                driver.ask("end")


@dataclass(frozen=True)
class Request:
    """An HTTP request, a POST if it has a body, and the number of bytes of its correct answer."""

    url: str
    headers: dict[str, str]
    answer_bytes: int
    body: bytes = b""


def _side(system: systems.System, stack: ExitStack):
    if not system.is_headrace:
        return _PeerSide(system)
    return _RemoteSide(system.name, stack.enter_context(system.sender()))


def _load(h2load: str, request: Request, users: int) -> float:
    """Answers a second."""
    with tempfile.NamedTemporaryFile(prefix="body-") as body:
        body.write(request.body)
        body.flush()
        protocol = ["--data", body.name] if request.body else ["--h1"]
        headers = [part for key, value in request.headers.items() for part in ("--header", f"{key}: {value}")]
        counts = ["--clients", str(users), "--max-concurrent-streams", "1", "--duration", str(SECONDS)]
        command = [h2load, *counts, *protocol, *headers, request.url]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    done, failed = int(re.search(r"(\d+) done", said)[1]), int(re.search(r"(\d+) failed", said)[1])
    fetched = int(re.search(r"\((\d+)\) data", said)[1])
    # A gRPC call that fails is answered with 200 and no message. At the end some answers are only half there.
    if failed or not done * request.answer_bytes <= fetched <= (done + users) * request.answer_bytes:
        raise RuntimeError(f"not all answers are right, {fetched} bytes of {done} x {request.answer_bytes}: {said}")
    return done / SECONDS


class _RemoteSide:
    """The side of a headrace, in an environment and with a contract of its own."""

    def __init__(self, name: str, sender: systems.Driver) -> None:
        self.name, self._sender = name, sender

    def fill(self, count: int) -> None:
        self._sender.ask("fill", count=count)

    def request(self, what: str) -> Request:
        answer = self._sender.ask("request", what=what)
        return Request(**answer | {"body": base64.b64decode(answer["body"])})

    def empty(self) -> None:
        self._sender.ask("empty")


class _PeerSide:
    """Many clusters of dask-gateway. Their processes sleep; the heartbeats sent here make it count them as running."""

    def __init__(self, system: systems.System) -> None:
        self.name, self.address = system.name, system.address
        self.authorization = "Basic " + base64.b64encode(b"bench:").decode()
        self.names: list[str] = []

    def fill(self, count: int) -> None:
        for _ in range(count):
            body = {"cluster_options": {"asleep": True}}
            self.names.append(json.loads(self._fetch("POST", "/api/v1/clusters/", body))["name"])
        for name, token, url in _sleeping_schedulers(set(self.names)):
            beat = {key: [] for key in ("active_workers", "closing_workers", "closed_workers")}
            addresses = {
                "scheduler_address": "tls://127.0.0.1:1",
                "dashboard_address": "",
                "api_address": "http://127.0.0.1:1",
            }
            request = urllib.request.Request(
                f"{url}/v1/clusters/{name}/heartbeat", method="POST",
                data=json.dumps({"count": 0, **beat, **addresses}).encode(),
                headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
            )  # fmt: skip
            urllib.request.urlopen(request).close()

    def request(self, what: str) -> Request:
        path = f"/api/v1/clusters/{self.names[0]}" if what == "GET" else "/api/v1/clusters/"
        answer = self._fetch("GET", path)
        found = 1 if what == "GET" else len(json.loads(answer))
        assert what == "GET" or found == len(self.names), f"{found} of {len(self.names)} clusters are listed"
        return Request(self.address + path, {"Authorization": self.authorization}, len(answer))

    def empty(self) -> None:
        for name in self.names:
            self._fetch("DELETE", f"/api/v1/clusters/{name}")

    def _fetch(self, method: str, path: str, body: object = None) -> bytes:
        request = urllib.request.Request(
            self.address + path, method=method, data=json.dumps(body).encode() if body else None,
            headers={"Authorization": self.authorization, "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request) as answer:
            return answer.read()


def _sleeping_schedulers(names: set[str]):
    """Yields name, token and API address of each cluster, once all of their processes are there."""
    found: dict[str, tuple[str, str, str]] = {}
    end = time.monotonic() + 900
    while names - found.keys():
        if time.monotonic() > end:
            raise TimeoutError(f"{len(names - found.keys())} of {len(names)} clusters of dask-gateway have no process")
        for process in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = dict(v.split("=", 1) for v in process.read_text().split("\0") if "=" in v)
            except (OSError, UnicodeDecodeError):
                continue
            name = variables.get("DASK_GATEWAY_CLUSTER_NAME", "")
            if name in names:
                found[name] = (name, variables["DASK_GATEWAY_API_TOKEN"], variables["DASK_GATEWAY_API_URL"])
        time.sleep(0.2)
    return found.values()


class HeadraceSide:
    """Many clusters of headrace whose processes sleep."""

    def __init__(self, data_directory: str) -> None:
        self.local = json.loads(Path(data_directory, "gateway.json").read_text())
        self.target = self.local["address"].removeprefix("https://")
        self.cluster, self.count = "", 0
        with self._channel() as channel:
            from headrace.v1 import auth_service_pb2 as auth
            from headrace.v1.auth_service_pb2_grpc import AuthServiceStub

            request = auth.LoginRequest(token=auth.TokenCredential(token=self.local["token"]))
            self.authorization = "Bearer " + AuthServiceStub(channel).Login(request, timeout=10).access_token

    @contextmanager
    def _channel(self):
        credentials = grpc.ssl_channel_credentials(Path(self.local["ca_file"]).read_bytes())
        with grpc.secure_channel(self.target, credentials) as channel:
            yield channel

    @contextmanager
    def _stub(self):
        from headrace.v1.cluster_service_pb2_grpc import ClusterServiceStub

        with self._channel() as channel:
            yield ClusterServiceStub(channel)

    def _call(self, method, request):
        return method(request, timeout=30, metadata=[("authorization", self.authorization)])

    def fill(self, count: int) -> None:
        from headrace.v1 import cluster_pb2, cluster_service_pb2

        request = cluster_service_pb2.CreateClusterRequest(spec=cluster_pb2.ClusterSpec())
        request.spec.options["start_command"].list_value.items.extend(["sleep", "100000"])
        self.count = count
        with self._stub() as stub:
            for _ in range(count):
                self.cluster = self._call(stub.CreateCluster, request).name
            self._wait_until_nothing_changes(stub)

    def _wait_until_nothing_changes(self, stub) -> None:
        from headrace.v1.cluster_service_pb2 import ListClustersRequest

        before, now = None, self._call(stub.ListClusters, ListClustersRequest(page_size=1000))
        while now != before:
            time.sleep(2)
            before, now = now, self._call(stub.ListClusters, ListClustersRequest(page_size=1000))

    def request(self, what: str) -> Request:
        from headrace.v1 import cluster_service_pb2 as pb

        with self._stub() as stub:
            if what.startswith("GET"):
                method, message = "GetCluster", pb.GetClusterRequest(name=self.cluster)
                answer = self._call(stub.GetCluster, message)
                message.resource_version = answer.resource_version if what == "GET SEEN" else ""
            else:
                view = pb.CLUSTER_VIEW_FULL if what == "LIST FULL" else pb.CLUSTER_VIEW_BASIC
                method, message = "ListClusters", pb.ListClustersRequest(page_size=1000, view=view)
                answer = self._call(stub.ListClusters, message)
                assert len(answer.clusters) == self.count, f"{len(answer.clusters)} of {self.count} clusters are listed"
        headers = {"Authorization": self.authorization, "Content-Type": "application/grpc", "TE": "trailers"}
        url = f"https://{self.target}/headrace.v1.ClusterService/{method}"
        return Request(url, headers, len(_framed(answer)), _framed(message))

    def empty(self) -> None:
        from headrace.v1 import cluster_service_pb2

        with self._stub() as stub:
            request = cluster_service_pb2.BatchStopClustersRequest(filter=cluster_service_pb2.ClusterFilter())
            self._call(stub.BatchStopClusters, request)


def _framed(message) -> bytes:
    content = message.SerializeToString()
    return struct.pack(">BI", 0, len(content)) + content
