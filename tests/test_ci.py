"""CI runs every suite that `make` has, and tests that share something run in one process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_suite_of_make_is_in_a_step() -> None:
    makefile, steps = (ROOT / "Makefile").read_text("utf-8"), (ROOT / ".ci" / "run").read_text("utf-8")
    suites = set(re.findall(r"^(check|coverage|demo|test[\w-]*):", makefile, re.MULTILINE))
    made = [step.split() for step in re.findall(r"^step \S+ make (.*)", steps, re.MULTILINE)]
    assert suites
    assert suites - {word for words in made for word in words} == set()


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
