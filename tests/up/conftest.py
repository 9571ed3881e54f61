"""Directories, fakes of our services, and the check that nothing is left running."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from headrace_up import marks
from headrace_up.child import ChildSpec
from headrace_up.layout import Layout, make_layout
from headrace_up.services import base_environment

HERE = Path(__file__).parent


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A data directory with a short name; after the test nothing may run for it."""
    directory = Path(tempfile.mkdtemp(prefix="hr-"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    yield directory / "data"
    left = marks.marked_processes(directory / "data")
    marks.kill_all(lambda: marks.marked_processes(directory / "data"))
    shutil.rmtree(directory)
    assert not left, f"left running: {left}"


@pytest.fixture
def layout(data: Path) -> Generator[Layout]:
    made = make_layout(data)
    yield made
    shutil.rmtree(made.sockets, ignore_errors=True)


@pytest.fixture
def fake_service(layout: Layout) -> Callable[..., ChildSpec]:
    """Makes a service that speaks our protocol and nothing else; `behaviour` says how it behaves."""

    def make(name: str, behaviour: str = "ready") -> ChildSpec:
        command = [sys.executable, "-S", str(HERE / "fake_service.py"), behaviour]
        return ChildSpec(name=name, command=command, environment=base_environment(layout))

    return make


class Up:
    """`headrace up` with fake services, as a process of its own."""

    def __init__(self, data: Path, *arguments: str, behaviour: str = "ready", nohup: bool = False) -> None:
        self.data = data
        environment = {**os.environ, "FAKE_BEHAVIOUR": behaviour}
        command = [sys.executable, str(HERE / "up_with_fakes.py"), "--data-dir", str(data), "--port", "0", *arguments]
        if nohup:
            command = ["nohup", *command]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []

    def read_until(self, text: str) -> list[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if text in line:
                return self.lines
        raise AssertionError(f"never said {text!r}:\n" + "\n".join(self.lines))

    def finish(self, within: float = 10.0) -> tuple[int, str]:
        rest, _ = self.process.communicate(timeout=within)
        return self.process.returncode, "\n".join([*self.lines, rest])


@pytest.fixture
def up(data: Path) -> Generator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*arguments: str, behaviour: str = "ready", data: Path = data, nohup: bool = False) -> Up:
        started.append(Up(data, *arguments, behaviour=behaviour, nohup=nohup))
        return started[-1]

    yield start
    for one in started:
        one.process.terminate()
        one.process.wait(timeout=10)
        if one.process.stdout:
            one.process.stdout.close()
    remembered = data / "sockets-directory"
    if remembered.is_file():
        shutil.rmtree(remembered.read_text().strip(), ignore_errors=True)
