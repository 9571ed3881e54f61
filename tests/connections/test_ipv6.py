"""A whole headrace where the only address besides those of loopback is an IPv6 one, as in a pod. It needs root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_PROGRAM = Path(__file__).with_name("ipv6_only.py")
ROOT = _PROGRAM.parents[2]
ADDRESS = "fd00:1234::7"

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: only root can make a network namespace")


@pytest.fixture
def within() -> Iterator[tuple[str, ...]]:
    """What runs a command in a namespace with IPv6 alone."""
    name = f"hr6-{os.getpid()}"
    command = ("ip", "netns", "exec", name)

    def ip(*words: str) -> None:
        subprocess.run(["ip", "-n", name, *words], check=True)

    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        ip("link", "set", "lo", "up")
        ip("address", "add", f"{ADDRESS}/128", "dev", "lo")
        yield command
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.timeout(300)
def test_a_cluster_computes_and_shows_its_dashboard(within: tuple[str, ...], tmp_path: Path) -> None:
    ran = subprocess.run(
        [*within, sys.executable, str(_PROGRAM), ADDRESS, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "computed, dashboard, probes, metrics"
