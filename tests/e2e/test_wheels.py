"""The built wheels, installed into a clean environment, run `headrace up` and a computation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECTS = [
    "client",
    "services/chassis",
    "services/auth",
    "services/controller",
    "services/proxy",
    "services/up",
    "backends/local",
]
COMPUTE = """
from headrace import Gateway
with Gateway() as gateway, gateway.new_cluster() as cluster, cluster.get_client() as client:
    cluster.scale(1)
    print("sum", client.submit(sum, range(101)).result(timeout=60))
"""


@pytest.mark.timeout(600)
def test_wheels_run_in_a_clean_environment(tmp_path: Path) -> None:
    dist, venv, data = tmp_path / "dist", tmp_path / "venv", tmp_path / "data"
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", dist, *(ROOT / project for project in PROJECTS))
    _run(sys.executable, "-m", "venv", "--without-pip", venv)
    into = ["--python", venv / "bin" / "python"]
    _pip(*into, "install", "--no-compile", "-c", ROOT / "constraints.txt", "--find-links", dist, "headrace[server]")
    _run(venv / "bin" / "headrace", "--help")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HEADRACE_DATA_DIR": str(data)}
    up = subprocess.Popen(
        [venv / "bin" / "headrace", "up", "--port", "0"], env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert up.stdout is not None
        for line in up.stdout:
            if "headrace is ready" in line.lower():
                break
        done = subprocess.run(
            [venv / "bin" / "python", "-c", COMPUTE], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert "sum 5050" in done.stdout, done.stderr
    finally:
        up.terminate()
        up.communicate(timeout=60)
    assert up.returncode == 0


def _pip(*arguments: str | Path) -> None:
    _run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
