"""Requests a second through each system's edge, made by k6: GET of one cluster, LIST of many."""

import base64
import json
import subprocess
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import grpc
import systems

HERE = Path(__file__).parent
SECONDS = "5s"


def measure(table, running: list[systems.System], rounds: int, listed: int) -> None:
    k6 = systems.environment("k6", systems.TOOLS) / "k6"
    sides = [_PeerSide(system) if system.name == "dask-gateway" else _HeadraceSide(system) for system in running]
    for side in sides:
        side.fill(listed)
    for _ in range(rounds):
        for what in ("GET one", f"LIST {listed}"):
            for users in (1, 64):
                for side in sides:
                    rate, median = _load(k6, side.script, side.environment(what.split()[0]), users)
                    table.add(f"{what}, {users} at once, requests/s", side.name, rate)
                    table.add(f"{what}, {users} at once, median s", side.name, median)
    for side in sides:
        side.empty()


def _load(k6: Path, script: str, env: dict[str, str], users: int) -> tuple[float, float]:
    with tempfile.NamedTemporaryFile(suffix=".json") as summary:
        settings = [part for key, value in env.items() for part in ("-e", f"{key}={value}")]
        command = [str(k6), "run", "--quiet", "--no-usage-report", "--vus", str(users), "--duration", SECONDS]
        done = subprocess.run(
            [*command, "--summary-export", summary.name, *settings, str(HERE / script)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode or "not answered" in done.stderr:
            raise RuntimeError(f"k6 failed: {done.stderr[-2000:]}")
        metrics = json.load(summary)["metrics"]
    return metrics["iterations"]["rate"], metrics["iteration_duration"]["med"] / 1000


class _PeerSide:
    """Many clusters of dask-gateway that it takes for running: their processes sleep, and we send their heartbeats."""

    script = "rest.js"

    def __init__(self, system: systems.System) -> None:
        self.name, self.address = system.name, system.address
        self.authorization = "Basic " + base64.b64encode(b"bench:").decode()
        self.names: list[str] = []

    def fill(self, count: int) -> None:
        for _ in range(count):
            body = {"cluster_options": {"asleep": True}}
            self.names.append(self._call("POST", "/api/v1/clusters/", self.authorization, body)["name"])
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

    def environment(self, what: str) -> dict[str, str]:
        path = f"/api/v1/clusters/{self.names[0]}" if what == "GET" else "/api/v1/clusters/"
        return {"URL": self.address + path, "AUTHORIZATION": self.authorization}

    def empty(self) -> None:
        for name in self.names:
            self._call("DELETE", f"/api/v1/clusters/{name}", self.authorization)

    def _call(self, method: str, path: str, authorization: str, body: object = None):
        request = urllib.request.Request(
            self.address + path, method=method, data=json.dumps(body).encode() if body else None,
            headers={"Authorization": authorization, "Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"null")


def _sleeping_schedulers(names: set[str]):
    """Yields name, token and API address of each cluster, once all of their processes are there."""
    found: dict[str, tuple[str, str, str]] = {}
    end = time.monotonic() + 900  # it starts three a second
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


class _HeadraceSide:
    """Many clusters of headrace whose processes sleep."""

    script = "grpc.js"

    def __init__(self, system: systems.System) -> None:
        self.name = system.name
        self.local = json.loads(Path(system.env["HEADRACE_DATA_DIR"], "gateway.json").read_text())
        self.target = self.local["address"].removeprefix("https://")
        self.cluster = ""
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
        request.spec.options["start_command"] = ["sleep", "100000"]
        with self._stub() as stub:
            for _ in range(count):
                self.cluster = self._call(stub.CreateCluster, request).name

    def environment(self, what: str) -> dict[str, str]:
        request = {"name": self.cluster} if what == "GET" else {"page_size": 1000}
        return {
            "ADDRESS": self.target,
            "CA_FILE": self.local["ca_file"],
            "PROTOS": str(HERE.parent / "protos"),
            "AUTHORIZATION": self.authorization,
            "METHOD": "GetCluster" if what == "GET" else "ListClusters",
            "REQUEST": json.dumps(request),
        }

    def empty(self) -> None:
        from headrace.v1 import cluster_service_pb2

        with self._stub() as stub:
            self._call(stub.StopAllClusters, cluster_service_pb2.StopAllClustersRequest())
