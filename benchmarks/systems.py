"""The systems, each with an environment of its own, started and stopped."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache" / "benchmarks"
PEER_VERSION = "2026.3.0"
PEER = [f"dask-gateway=={PEER_VERSION}", f"dask-gateway-server[local]=={PEER_VERSION}"]

PEER_CONFIG = """
from dask_gateway_server.options import Options, Bool
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.DaskGateway.log_level = "ERROR"
c.ClusterConfig.worker_cmd = ["dask", "worker"]
c.DBBackendBase.cluster_start_timeout = 3600
c.DBBackendBase.cluster_heartbeat_timeout = 3600
c.LocalBackend.clusters_directory = {directory!r}
c.Proxy.address = "127.0.0.1:{port}"
c.Backend.cluster_options = Options(
    Bool("asleep", default=False),
    handler=lambda options: dict(
        scheduler_cmd=["sh", "-c", "exec sleep 100000"] if options.asleep else ["dask", "scheduler"]
    ),
)
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(name: str, requirements: list[str]) -> Path:
    """A virtual environment with the same versions of Dask as ours; made once. Returns its bin directory."""
    directory = CACHE / name
    if not (directory / "ready").exists():
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        constraints = HERE.parent / "constraints.txt"
        pip = [str(directory / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", str(constraints), *requirements], check=True)
        (directory / "ready").touch()
    return directory / "bin"


def h2load() -> str:
    """The load generator of nghttp2, from Debian's packages."""
    if not shutil.which("h2load"):
        install = ["apt-get", "install", "--yes", "--quiet", "nghttp2-client"]
        if not shutil.which("apt-get") or subprocess.run(install, check=False, stdout=sys.stderr).returncode:
            raise SystemExit(
                "rates are made by h2load: install it (Debian: nghttp2-client), or leave them out (--listed 0)"
            )
    return "h2load"


class Driver:
    """A script in some environment that answers requests over its standard input and output, a JSON object a line."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def send(self, scenario: str, **arguments: object) -> None:
        self.process.stdin.write(json.dumps({"scenario": scenario, **arguments}) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the driver ended with code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def ask(self, scenario: str, **arguments: object) -> dict:
        self.send(scenario, **arguments)
        return self.receive()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)


class System:
    """A running gateway.

    Attributes
    ----------
    name
        Its column of the table.
    module
        Package of its client.
    checkout
        Repository that it runs from; for headrace only.
    """

    def __init__(self, name: str, module: str, python: Path, address: str, env: dict[str, str]) -> None:
        self.name, self.module, self.python, self.address, self.env = name, module, python, address, env
        self.checkout = HERE.parent

    @property
    def is_headrace(self) -> bool:
        return self.module == "headrace"

    @contextmanager
    def driver(self, **env: str):
        """A `driver.py` with this system's client."""
        with self._started("driver.py", self.module, self.address, env=env) as driver:
            yield driver

    @contextmanager
    def sender(self):
        """A `rates_side.py`, which knows the contract of this system's checkout."""
        with self._started("rates_side.py", str(self.checkout / "benchmarks"), env={}) as driver:
            yield driver

    @contextmanager
    def _started(self, script: str, *arguments: str, env: dict[str, str]):
        driver = Driver([str(self.python), str(HERE / script), *arguments], self.env | env)
        try:
            yield driver
        finally:
            driver.close()


def _wait(process: subprocess.Popen, ready, what: str) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with code {process.returncode}")
        if ready():
            return
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    raise TimeoutError(f"{what} is not ready after 60 s")


@contextmanager
def _running(command: list[str], env: dict[str, str], cwd: Path, ready, what: str):
    with (cwd / "output.log").open("w") as log:
        process = subprocess.Popen(command, env=env, cwd=cwd, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(process, ready, what)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def peer():
    """dask-gateway from its wheels, with its Go proxy and the local backend."""
    bin_ = environment("peer", [*PEER, "distributed", "bokeh"])
    with tempfile.TemporaryDirectory(prefix="peer-") as name:
        directory, port = Path(name), free_port()
        config = directory / "config.py"
        config.write_text(PEER_CONFIG.format(directory=str(directory / "clusters"), port=port))
        env = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"}
        address = f"http://127.0.0.1:{port}"
        command = [str(bin_ / "dask-gateway-server"), "-f", str(config)]
        with _running(command, env, directory, lambda: _answers(f"{address}/api/health"), "dask-gateway"):
            yield System("dask-gateway", "dask_gateway", bin_ / "python", address, env)


@contextmanager
def headrace(name: str = "headrace", checkout: Path = HERE.parent):
    """headrace as `headrace up` of a checkout runs it, with the checkout's own .venv or, for this one, this Python."""
    python = Path(sys.executable) if checkout == HERE.parent else checkout / ".venv" / "bin" / "python"
    with tempfile.TemporaryDirectory(prefix="hr-") as folder:
        directory = Path(folder)
        data = directory / "data"
        # As in dask-gateway: clusters that sleep are not given up, and one user may have any number.
        env = os.environ | {
            "HEADRACE_DATA_DIR": str(data),
            "HEADRACE_CONTROLLER_START_TIMEOUT_SECONDS": "3600",
            "HEADRACE_CONTROLLER_LIMITS__USER__CLUSTERS": "1000000",
            "HEADRACE_CONTROLLER_LIMITS__USER__WORKERS": "1000000",
        }
        command = [str(python), "-m", "headrace.cli", "up", "--port", str(free_port())]
        with _running(command, env, directory, (data / "gateway.json").exists, name):
            system = System(name, "headrace", python, "", env)
            system.checkout = checkout
            yield system
