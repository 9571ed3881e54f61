"""`headrace up` with everything real, and the command line beside it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from tests.held_port import held_ports
from tests.up.processes import find, running

from headrace import Gateway
from headrace_chassis import procfs
from headrace_up.credentials import ensure_server_certificate

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


class RealUp:
    """A running `headrace up`."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        own = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "DASK_"))}
        self.environment = {**own, "HEADRACE_DATA_DIR": str(data)}
        self.output = data.parent / f"up-{time.monotonic_ns()}.log"
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headrace.cli", "up", "--port", "0", *arguments],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def prints(self, text: str, within: float = 60.0) -> None:
        wait_until(lambda: text in self.output.read_text() or self.process.poll() is not None, within)
        assert text in self.output.read_text(), self.output.read_text()

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.output.read_text()
        return done

    def cli(self, *arguments: str, text: str = "") -> str:
        return self.run("-m", "headrace.cli", *arguments, text=text).stdout.strip()

    @contextmanager
    def gateway(self) -> Generator[Gateway]:
        """What `Gateway()` gives beside it."""
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("HEADRACE_DATA_DIR", str(self.data))
            with Gateway() as gateway:
                yield gateway

    def create(self, workers: int = 1) -> str:
        """Create a cluster that outlives its creator."""
        with self.gateway() as gateway, gateway.new_cluster(shutdown_on_close=False) as cluster:
            cluster.scale(workers)
            return cluster.name

    @contextmanager
    def client(self, cluster: str) -> Generator[Client]:
        with self.gateway() as gateway, gateway.connect(cluster) as connected, connected.get_client() as client:
            yield client

    def compute(self, cluster: str) -> int:
        with self.client(cluster) as client:
            return client.submit(sum, range(101)).result(timeout=60)

    def stop(self) -> None:
        """Press Ctrl-C and wait for the end."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0, self.output.read_text()


def wait_until(condition: Callable[[], object], within: float) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s"
        time.sleep(0.02)


@pytest.fixture
def start(data: Path) -> Generator[Callable[..., RealUp]]:
    started: list[RealUp] = []

    def make(*arguments: str) -> RealUp:
        one = RealUp(data, *arguments)
        started.append(one)
        one.prints("headrace is ready")
        return one

    yield make
    for one in started:
        one.process.terminate()
        one.process.wait(60)
    note = data / "sockets-directory"
    if note.is_file():
        shutil.rmtree(note.read_text().strip(), ignore_errors=True)


@pytest.fixture
def port() -> Generator[str]:
    """A port that nobody else is given while a test starts headrace there again and again."""
    with held_ports(1) as (held,):
        yield str(held)


Start = Callable[..., RealUp]


def test_the_command_line_leads_a_cluster_through_its_life(start: Start, data: Path):
    up = start()
    assert "admin" in up.cli("whoami")
    cluster = up.cli("clusters", "create", "--name", "mine", "--workers", "1")
    assert re.fullmatch(r"c[a-z2-7]{19}", cluster)
    assert up.cli("clusters", "create", "--name", "mine") == cluster
    assert up.compute(cluster) == 5050
    assert "2 workers" in up.cli("clusters", "scale", "mine", "2") or "/2" in up.cli("clusters", "list")
    listed: list[dict[str, Any]] = json.loads(up.cli("clusters", "list", "--json"))
    assert [one["name"] for one in listed] == [f"clusters/{cluster}"]
    assert "scheduler" in up.cli("clusters", "logs", cluster, "-n", "5")
    assert "Scheduler" in up.cli("clusters", "events", cluster)
    assert f"/clusters/{cluster}/status" in up.cli("clusters", "open", cluster, "--print")
    assert "FAIL" not in up.cli("doctor", cluster)
    assert "stopped" in up.cli("clusters", "stop", cluster)
    assert up.cli("clusters", "list") == "No clusters. Make one with `headrace clusters create`."
    up.stop()
    assert not running(data)


def test_a_user_with_a_password_logs_in_and_is_nobody_special(start: Start, data: Path):
    users = data.parent / "users"
    add = [sys.executable, "-m", "headrace_auth", "users", "add", "ann", "--file", str(users), "--password-stdin"]
    subprocess.run(add, input="correct horse\n", text=True, check=True, stdout=subprocess.DEVNULL)
    up = start("--users-file", str(users), "--one-account")
    up.prints("ONE ACCOUNT: clusters of all users run as your operating-system account")
    local = json.loads((data / "gateway.json").read_text())
    home = {"HOME": str(data.parent), "HEADRACE_DATA_DIR": str(data.parent / "none"), "XDG_CONFIG_HOME": ""}
    up.environment |= home
    login = ["login", local["address"], "--ca-file", local["ca_file"], "--user", "ann", "--password-stdin"]
    up.cli(*login, text="correct horse\n")
    assert up.cli("whoami") == "ann (user), by password"
    assert "headrace login" in up.cli("tokens", "list")
    assert "FAIL" not in up.cli("doctor")
    up.environment["HEADRACE_CLUSTERS_LIST_OWNER"] = "-"
    done = subprocess.run(
        [sys.executable, "-m", "headrace.cli", "clusters", "list"],
        env=up.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_clusters_as_their_owners_would(start: Start, data: Path):
    up = start()
    cluster = up.create(workers=2)
    up.compute(cluster)
    up.stop()
    assert not running(data)
    again = start()

    def status() -> dict[str, Any]:
        return json.loads(again.cli("clusters", "list", "--all", "--json"))[0]["status"]

    # On a busy machine the time for stopping may have been over before the cluster had ended.
    wait_until(lambda: status()["phase"] == "PHASE_STOPPED", within=60)
    assert status()["reason"] == "END_REASON_USER"


def test_clusters_that_are_kept_are_adopted(start: Start, data: Path):
    first = start("--keep-clusters")
    cluster = first.create()
    assert first.compute(cluster) == 5050
    first.stop()
    assert not any("envoy" in line for line in running(data).values())
    second = start()
    assert second.compute(cluster) == 5050
    second.stop()
    assert not running(data)


def test_after_a_kill_of_up_itself_the_next_one_adopts_the_clusters(start: Start, data: Path):
    first = start()
    cluster = first.create()
    first.compute(cluster)
    first.process.kill()
    first.process.wait()
    second = start()
    assert second.compute(cluster) == 5050
    second.stop()
    assert not running(data)


def test_no_future_is_lost_when_auth_dies_often_all_is_killed_and_the_store_is_damaged(
    start: Start, data: Path, port: str
):
    first = start("--port", port)
    cluster = first.create()
    with first.client(cluster) as client:
        client.publish_dataset(kept=client.submit(sum, range(101)))
    killed: set[int] = set()
    said = "auth was killed by SIGKILL, 4 times in a row; clusters compute on"
    while said not in first.output.read_text():
        for pid in {pid for pid, line in running(data).items() if "headrace auth" in line} - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    first.prints("auth is back")

    first.process.kill()
    first.process.wait()
    start("--port", port).process.kill()
    wait_until(lambda: not any("valkey-server" in line for line in running(data).values()), within=60)
    with next((data / "valkey" / "appendonlydir").glob("*.incr.aof")).open("ab") as file:
        file.write(os.urandom(3000))
    last = start("--port", port)
    last.prints("the end of the store's file was damaged and has been cut off")
    with last.client(cluster) as client:
        kept: Any = client.get_dataset("kept")
        assert kept.result(timeout=60) == 5050
        assert client.submit(sum, range(11)).result(timeout=60) == 55
    last.stop()
    assert not running(data)


def test_the_port_serves_a_certificate_that_was_renewed_while_it_runs(start: Start, data: Path):
    up = start()
    port = int(json.loads((data / "gateway.json").read_text())["address"].rpartition(":")[2])
    before = ssl.get_server_certificate(("127.0.0.1", port))
    ensure_server_certificate(data / "tls", datetime.now(UTC) + timedelta(days=700))
    wait_until(lambda: ssl.get_server_certificate(("127.0.0.1", port)) != before, within=60)
    up.create(workers=0)


def test_services_are_forked_from_a_process_that_has_one_thread(start: Start, data: Path):
    up = start()
    up.create()
    assert len(list(Path(f"/proc/{up.process.pid}/task").iterdir())) == 1
    for name in ("auth", "controller", "proxy"):
        service = procfs.process(find(data, f"headrace {name}"))
        assert service is not None
        assert service.session == service.pid


def test_the_first_cluster_finds_a_warm_scheduler(start: Start, data: Path):
    start()

    def standbys() -> int:
        return sum("dask standby" in line for line in running(data).values())

    # The two that came before everything was imported are replaced one by one, and may still be ending.
    assert 2 <= standbys() <= 4
    wait_until(lambda: standbys() == 2, within=60)
