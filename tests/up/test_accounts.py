"""`headrace up` for several users who do not trust each other: each one's tasks run as an account of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.backends.local.account_users import ATTACK, ROOT, with_readable_python
from tests.up.processes import find, running

from headrace import BasicAuth, Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180), ROOT]

USERS = {"ann": "correct horse", "bob": "battery staple"}


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A directory that other accounts can pass through."""
    directory = Path(tempfile.mkdtemp(prefix="hr-"))
    directory.chmod(0o711)
    (directory / "mount").mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    yield directory
    left = running(directory / "data")
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(directory)
    assert not left


@pytest.fixture
def data(scratch: Path) -> Generator[Path]:
    """The data directory of a `headrace up` that runs with accounts."""
    data = scratch / "data"
    users = scratch / "users"
    for user, password in USERS.items():
        add = [sys.executable, "-m", "headrace_auth", "users", "add", user, "--file", str(users), "--password-stdin"]
        subprocess.run(add, input=password + "\n", text=True, check=True, stdout=subprocess.DEVNULL)
    up = [
        sys.executable,
        "-m",
        "headrace.cli",
        "up",
        "--port",
        "0",
        "--data-dir",
        str(data),
        "--users-file",
        str(users),
    ]
    own = {key: value for key, value in os.environ.items() if not key.startswith(("HEADRACE_", "DASK_"))}
    with (scratch / "log").open("wb") as log:
        command = with_readable_python([*up, "--accounts", "pool"], scratch / "mount")
        process = subprocess.Popen(command, stdout=log, stderr=log, env=own)
    end = time.monotonic() + 60
    while "Other users log in with" not in (printed := (scratch / "log").read_text()):
        assert process.poll() is None, printed
        assert time.monotonic() < end, printed
        time.sleep(0.02)
    yield data
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def _tasks() -> tuple[
    Callable[[Mapping[str, str]], str], Callable[[], tuple[int, int, str]], Callable[[], tuple[str, list[str]]]
]:
    """Nested functions travel by value: clusters do not have the tests."""
    program = ATTACK.replace("time.sleep(1000)", "")

    def attack(variables: Mapping[str, str]) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def whereabouts() -> tuple[int, int, str]:
        return os.getuid(), os.getpid(), str(Path.cwd())

    def origin() -> tuple[str, list[str]]:
        parent = Path(f"/proc/{os.getppid()}/cmdline").read_text()
        files = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
        return parent, [file for file in files if "launch" in file]

    return attack, whereabouts, origin


attack, whereabouts, origin = _tasks()


def test_tasks_of_two_users_reach_neither_each_other_nor_headrace(data: Path) -> None:
    local = json.loads((data / "gateway.json").read_text())
    sockets = Path((data / "sockets-directory").read_text().strip())
    gateways = {
        user: Gateway(local["address"], auth=BasicAuth(user, password), tls_ca_file=local["ca_file"])
        for user, password in USERS.items()
    }
    with gateways["ann"] as ann, gateways["bob"] as bob, ann.new_cluster() as hers, bob.new_cluster() as his:
        for cluster in (hers, his):
            cluster.scale(1)
        with hers.get_client() as her_client, his.get_client() as his_client:
            her_uid, _, _ = her_client.submit(whereabouts).result(timeout=60)
            his_uid, his_pid, his_directory = his_client.submit(whereabouts).result(timeout=60)
            schedulers = her_client.run_on_scheduler(os.getuid), his_client.run_on_scheduler(os.getuid)
            assert schedulers == (her_uid, his_uid)
            assert len({0, her_uid, his_uid}) == 3
            parent, launch_files = her_client.submit(origin).result(timeout=60)
            assert "dask fork server" in parent
            assert launch_files == []
            files: Sequence[Path] = [
                *(data / name for name in ("gateway.json", "secrets", "logs", "valkey", "proxy", "lock")),
                *(data / "secrets" / name for name in ("deployment.key", "bootstrap-token.json")),
                *(data / "tls" / name for name in ("ca.key", "server.key")),
                *(data / "local" / name for name in ("zygote/socket", "logs", "manifests", "accounts")),
                *(sockets / f"{name}.sock" for name in ("valkey", "auth", "auth-internal", "controller-internal")),
                Path(his_directory),
            ]
            victims = [his_pid, find(data, "valkey"), *_pids(data, "headrace controller", "headrace auth", "zygote")]
            variables = {"FILES": ":".join(map(str, files)), "PIDS": ":".join(map(str, victims))}
            log = her_client.submit(attack, variables).result(timeout=60)
            assert "attack is over" in log
            assert "got:" not in log
            assert her_client.submit(sum, range(101)).result(timeout=60) == 5050
            assert his_client.submit(whereabouts, pure=False).result(timeout=60)[1] == his_pid


def _pids(data: Path, *titles: str) -> list[int]:
    found = [next(pid for pid, line in running(data).items() if title in line) for title in titles]
    assert len(found) == len(titles)
    return found
