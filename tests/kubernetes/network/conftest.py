from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
Helm = Callable[..., str]
BINARIES = ROOT / ".cache" / "kubernetes"


def _runner(program: str) -> Callable[..., str]:
    def run(*arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [str(BINARIES / program), *arguments],
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            env={"KUBECONFIG": "/tmp/k8s/kubeconfig", **os.environ},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def kubectl() -> Callable[..., str]:
    return _runner("kubectl")


@pytest.fixture(scope="session")
def helm() -> Helm:
    return _runner("helm")
