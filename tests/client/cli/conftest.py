"""A fake headrace that the command line talks to, as ann with one cluster; and the command line in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import dask.config as dask_config
import pytest
from tests.client.fake_cluster import FakeCluster
from tests.client.fake_headrace import FakeHeadrace

from headrace.v1 import cluster_pb2

TOKEN = "ann-secret"
CONFIGURATION = {
    "DASK_HEADRACE__AUTH__TYPE": "token",
    "HEADRACE_TOKEN": TOKEN,
}


@pytest.fixture
def headrace(fake: FakeHeadrace, monkeypatch: pytest.MonkeyPatch) -> FakeHeadrace:
    """A headrace whose clusters start only when a test says so, configured as the one to talk to."""
    fake.starts = False
    monkeypatch.setenv("DASK_HEADRACE__ADDRESS", fake.address)
    monkeypatch.setenv("DASK_HEADRACE__TLS__CA_FILE", str(fake.ca_file))
    for name, value in CONFIGURATION.items():
        monkeypatch.setenv(name, value)
    return fake


@pytest.fixture
def cluster(headrace: FakeHeadrace) -> FakeCluster:
    """ann's cluster "mine", which runs with three of four workers."""
    group = cluster_pb2.WorkerGroup(name="default", size=4)
    spec = cluster_pb2.ClusterSpec(alias="mine", worker_groups=[group], tags={"team": "x"})
    made = FakeCluster("c" + "a2" * 9 + "b", "users/ann", spec)
    headrace.clusters[made.id] = made
    headrace.add_event(made, "the scheduler runs")
    headrace.set_phase(made, cluster_pb2.PHASE_RUNNING)
    made.record.status.worker_groups[0].running = 3
    return made


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
