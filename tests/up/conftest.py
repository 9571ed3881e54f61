"""Directories, `headrace up` with fake parts, and the check that nothing is left running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.up.processes import running

from headrace_up.layout import Layout, make_layout
from headrace_up.process import Part, command
from headrace_up.process_tags import tagged_environment

HERE = Path(__file__).parent


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A data directory with a short name; after the test nothing may run for it."""
    directory = Path(tempfile.mkdtemp(prefix="hr-"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    yield directory / "data"
    left = running(directory / "data")
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(directory)
    assert not left, f"left running: {left}"


@pytest.fixture
def layout(data: Path) -> Generator[Layout]:
    made = make_layout(data)
    yield made
    shutil.rmtree(made.sockets, ignore_errors=True)


@pytest.fixture
def fake_part(layout: Layout) -> Callable[..., Part]:
    """Makes a part that speaks our protocol and nothing else; `behaviour` says how it behaves."""

    def make(name: str, behaviour: str = "ready") -> Part:
        main = command([sys.executable, "-S", str(HERE / "fake_service.py"), behaviour])
        return Part(name=name, main=main, environment=tagged_environment(layout.data))

    return make


class Up:
    """`headrace up` with fake services and a fake Envoy, as a process of its own."""

    def __init__(self, data: Path, *arguments: str, behaviour: str = "ready", nohup: bool = False) -> None:
        self.data = data
        environment = {**os.environ, "FAKE_BEHAVIOUR": behaviour, "HEADRACE_DATA_DIR": str(data)}
        arguments = (sys.executable, str(HERE / "up_with_fakes.py"), "--port", "0", *arguments)
        if nohup:
            arguments = ("nohup", *arguments)
        self.process = subprocess.Popen(
            arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []

    def read_until(self, text: str) -> list[str]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if text in line:
                return self.lines
        raise AssertionError(f"never printed {text!r}:\n" + "\n".join(self.lines))

    def finish(self, within: float = 60.0) -> tuple[int, str]:
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
        one.process.wait(timeout=60)
        if one.process.stdout:
            one.process.stdout.close()
    note = data / "sockets-directory"
    if note.is_file():
        shutil.rmtree(note.read_text().strip(), ignore_errors=True)
