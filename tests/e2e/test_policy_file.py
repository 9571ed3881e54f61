"""A policy file from `headrace up --policy` to what administrators and users see of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.e2e.running import Running, running, wait_until

from headrace import ClusterStatus, Gateway

POLICY = "profiles: {small: {label: Small}}\nlimits: {user: {clusters: 3}}\n"


@dataclass
class Site:
    running: Running
    file: Path

    @property
    def log(self) -> str:
        return (self.running.data / "logs" / "controller.log").read_text()

    def put_in_force(self, policy: str) -> None:
        before = self.log.count("a new policy is in force")
        self.file.write_text(policy)
        wait_until(lambda: self.log.count("a new policy is in force") > before)

    def admin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return headrace("admin", "policy", *arguments, HEADRACE_DATA_DIR=str(self.running.data))


def headrace(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace.cli", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="hr-e2e-") as name:
        file = Path(name) / "policy.yaml"
        file.write_text(POLICY)
        with running(Path(name), "--policy", str(file)) as started:
            yield Site(started, file)


def test_an_admin_compares_a_policy_and_then_puts_it_in_force(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("profiles: {tiny: {label: Tiny}}\nlimits: {user: {clusters: 3}}\n")
    shown = site.admin("show")
    assert list(yaml.safe_load(shown.stdout)["profiles"]) == ["small"]
    compared = site.admin("diff", str(other))
    assert compared.returncode == 0
    assert "profiles.tiny\n  + " in compared.stdout
    assert "\n  + label: Tiny\n" in compared.stdout
    assert "limits.user" not in compared.stdout
    assert "It affects nobody who has a cluster now." in compared.stdout
    site.put_in_force(other.read_text())
    profiles = headrace("clusters", "profiles", HEADRACE_DATA_DIR=str(site.running.data))
    assert "Tiny" in profiles.stdout


def test_a_file_that_would_be_refused_is_told_before_and_after(site: Site) -> None:
    text = site.file.read_text()
    site.file.write_text(text + "x: 1\n")
    compared = site.admin("diff", str(site.file))
    assert compared.returncode == 1
    assert "there is no such key" in compared.stdout
    wait_until(lambda: "the policy file was refused" in site.log)
    assert "x: there is no such key" in site.admin("show").stderr
    site.file.write_text(text)


def test_ctrl_c_while_new_cluster_waits_leaves_the_queue(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put_in_force("limits: {on_create: queue, user: {clusters: 1}}")
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(site.running.data))
    code = "from headrace import Gateway; Gateway().new_cluster(name='waits', queue_timeout='1 h')"
    with Gateway() as gateway:
        first = gateway.submit()
        with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as waiting:
            try:
                wait_until(lambda: "waits" in {cluster.alias for cluster in gateway.list_clusters()})
                name = gateway.get_cluster("waits").name
                wait_until(lambda: gateway.get_cluster(name).message.startswith("Waiting for room"))
                waiting.send_signal(signal.SIGINT)
                _, err = waiting.communicate(timeout=60)
            finally:
                waiting.kill()
        assert err.rstrip().endswith("KeyboardInterrupt")
        wait_until(lambda: gateway.get_cluster(name).status == ClusterStatus.STOPPED)
        gateway.stop_cluster(first)
    site.put_in_force(POLICY)


def test_headrace_up_does_not_start_with_a_broken_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("limits:\n  user: {cores: -1}\n")
    done = headrace("up", "--policy", str(file), HEADRACE_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 1
    assert done.stderr == (
        f"headrace up: the policy file {file} is refused:\n"
        "line 2: limits.user.cores: Input should be greater than or equal to 0\n"
    )
    assert not (tmp_path / "data").exists()
