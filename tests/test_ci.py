"""CI runs every suite that `make` has and says what failed, and tests that share something run in one process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CI = ROOT / ".ci" / "run"


def test_each_suite_of_make_is_in_a_step() -> None:
    makefile, steps = (ROOT / "Makefile").read_text("utf-8"), CI.read_text("utf-8")
    suites = set(re.findall(r"^(check|coverage|demo|test[\w-]*):", makefile, re.MULTILINE))
    assert suites
    assert suites - set(re.findall(r"^(?:step|beside) \S+ make (\S+)$", steps, re.MULTILINE)) == set()


@pytest.mark.parametrize("target", ["test", "test-storms"])
def test_a_step_that_fails_alone_or_beside_others_fails_ci(tmp_path: Path, target: str) -> None:
    done = subprocess.run(
        [CI], check=False, env=_environment(tmp_path, f'[ "$1" != {target} ]'), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"=== failed: {target.removeprefix('test-')}"
    durations = done.stdout.partition("=== durations\n")[2]
    steps = re.findall(r"^(?:step|beside) (\S+)", CI.read_text("utf-8"), re.MULTILINE)
    assert sorted(re.findall(r"^ *\d+ s  (\S+)$", durations, re.MULTILINE)) == sorted(steps)
    for step in steps:
        assert f"\n=== {step}: make " in done.stdout


def test_ci_passes_if_all_steps_do(tmp_path: Path) -> None:
    done = subprocess.run([CI], check=False, env=_environment(tmp_path, "true"), capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "=== all steps passed")
    assert done.stderr == ""


@pytest.mark.parametrize("target", ["test", "test-storms"])
def test_an_interrupted_ci_ends_its_steps(tmp_path: Path, target: str) -> None:
    """A fifo ends for its reader once nobody is left who could write to it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    environment = _environment(tmp_path, f'[ "$1" = {target} ] || exit 0; exec >{fifo}; echo begun; exec sleep 600')
    with subprocess.Popen([CI], env=environment, stdout=subprocess.DEVNULL) as process, fifo.open() as said:
        assert said.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        assert said.read() == ""
        assert process.wait() == 130


def _environment(folder: Path, make: str) -> dict[str, str]:
    """Has a `make` of one line of shell: what CI does with its steps is tested, not the steps."""
    program = folder / "make"
    program.write_text(f"#!/bin/sh\n{make}\n")
    program.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_tests_of_one_group_run_in_one_process(tmp_path: Path) -> None:
    """pytest and pytest-xdist have to fit for that: with versions that do not, groups are ignored silently."""
    module = tmp_path / "test_grouped.py"
    module.write_text(
        "import os, pytest\n"
        "pytestmark = pytest.mark.xdist_group('one')\n"
        "@pytest.mark.parametrize('number', range(8))\n"
        "def test_process(number, record_property):\n"
        "    record_property('process', os.environ['PYTEST_XDIST_WORKER'])\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        "-c",
        "/dev/null",
        "--junit-xml=report",
    ]
    subprocess.run([*command, module.name], cwd=tmp_path, check=True, capture_output=True)
    assert len(set(re.findall(r'name="process" value="(\w+)"', (tmp_path / "report").read_text()))) == 1
