"""`make demo`, as it runs without a terminal."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

DEMO = Path(__file__).parents[2] / "demo" / "flights.py"


@pytest.fixture
def demo(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Generator[subprocess.Popen[str]]:
    directory = tmp_path_factory.mktemp("d", numbered=True)
    monkeypatch.setenv("TMPDIR", str(directory))
    process = subprocess.Popen(
        [sys.executable, str(DEMO)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    yield process
    process.kill()
    process.communicate()
    assert not list(directory.glob("headrace-demo-*"))
    assert not running_below(directory)


def running_below(directory: Path) -> list[str]:
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line, environment = ((entry / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue
        if f"{directory}/headrace-demo-".encode() in line + environment:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_it_answers_and_cleans_up(demo: subprocess.Popen[str]):
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    for word in ("336 776 flights", "Hawaiian Airlines Inc.", "EWR to TYS", "WorkersJoined", "/status?link="):
        assert word in output
    assert "\x1b" not in output
    assert "Traceback" not in output


@pytest.mark.parametrize("until", ["headrace is ready", "With whom?"])
def test_ctrl_c_cleans_up_wherever_it_comes(demo: subprocess.Popen[str], until: str):
    assert demo.stdout is not None
    for line in demo.stdout:
        if until in line:
            break
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, output
