"""How long clusters and workers take to start: from standby, cold, and beside pods that Kubernetes alone starts."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.kubernetes import bare
from tests.kubernetes.chart.installation import Installation
from tests.kubernetes.running import Kubernetes, image, program_path, until

from headrace_backend_kubernetes.api import connect
from headrace_backend_kubernetes.config import Settings

STANDBY = {"schedulers": 2, "workers": 2}
VALUES = {
    "auth": {"replicas": 1},
    "proxy": {"replicas": 1},
    "controller": {"replicas": 2},
    "valkey": {"persistence": {"enabled": False}},
}
Figures = dict[str, list[float]]


class Visitor:
    """A user in a pod of the release's namespace."""

    def __init__(self, installation: Installation) -> None:
        script = Path(__file__).with_name("visitor.py").read_text()
        installation.begin("visitor", "import time; time.sleep(3600)")
        until(lambda: installation.get("pod", "visitor")["status"]["phase"] == "Running", "the visitor's pod runs")
        command = [program_path("kubectl"), "exec", "-i", "visitor", "-n", installation.namespace]
        self._process = subprocess.Popen(
            [*command, "--", "python", "-u", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "KUBECONFIG": str(installation.kubernetes.kubeconfig)},
        )
        self._answer()

    def start(self, profile: str, workers: int) -> dict[str, Any]:
        """Makes a cluster with workers and ends it; returns what took how long."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"profile": profile, "workers": workers}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def leave(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the visitor has failed, see above"
        return json.loads(line)


@contextmanager
def installed(kubernetes: Kubernetes) -> Generator[Installation]:
    """The chart with one profile that has pods in standby, and one that has none, in a namespace of its own."""
    namespace = f"bench-{secrets.token_hex(3)}"
    kubernetes.kubectl("create", "namespace", namespace)
    with TemporaryDirectory(prefix="hr-bench-") as directory:
        release = Installation(kubernetes, namespace, Path(directory) / "values.json")
        profiles = {"cold": {"settings": {"labels": {"start": "cold"}}}, "warm": {"settings": {"standby": STANDBY}}}
        policy = {**release.small["policy"], "profiles": profiles}
        release.values.write_text(json.dumps({**release.small, **VALUES, "policy": policy}))
        try:
            release.install()
            yield release
            release.uninstall()
        finally:
            kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")


def until_quiet(release: Installation) -> None:
    """Waits until all pods in standby are there again and ready, and those of earlier clusters have ended."""

    def quiet() -> bool:
        pods = release.get("pods", "-l", "headrace.dev/deployment", "--field-selector=status.phase=Running")["items"]
        labels = [pod["metadata"]["labels"] for pod in pods]
        return len(pods) == sum(STANDBY.values()) and all("headrace.dev/ready" in each for each in labels)

    until(quiet, "all pods in standby are ready", within=120)


async def measure(release: Installation, address: str, rounds: int) -> Figures:
    """Starts all in turn, round by round."""
    figures: Figures = defaultdict(list)
    kubeconfig = release.kubernetes.kubeconfig
    bare_namespace = f"{release.namespace}-bare"  # without NetworkPolicies
    release.kubernetes.kubectl("create", "namespace", bare_namespace)
    api = await connect(Settings(kubeconfig=kubeconfig, namespace=bare_namespace))
    visitor = await asyncio.to_thread(Visitor, release)
    try:
        for number in range(rounds + 1):
            for profile in ("warm", "cold"):
                await asyncio.to_thread(until_quiet, release)
                times = await asyncio.to_thread(visitor.start, profile, 1)
                print(number, f"{os.getloadavg()[0]:.1f}", profile, times, flush=True)
                if number:  # the first round is for what happens once
                    figures[f"{profile}: new_cluster() returns"].append(times["created"])
                    figures[f"{profile}: client connected"].append(times["usable"])
                    figures[f"{profile}: scale 0 to 1 worker"].append(times["joined"])
            await asyncio.to_thread(until_quiet, release)
            for name, program in bare.PROGRAMS.items():
                took = await bare.seconds(api, bare_namespace, image("headrace-dask"), program, address)
                print(number, f"{os.getloadavg()[0]:.1f}", name, took, flush=True)
                if number:
                    figures[name].append(took)
    finally:
        visitor.leave()
        await api.close()
        release.kubectl("delete", "pod", "visitor", "--grace-period=0", "--force")
        release.kubernetes.kubectl("delete", "namespace", bare_namespace, "--wait=false")
    return figures


def table(figures: Figures) -> str:
    """Markdown; medians with the least and the most."""
    lines = ["| s | median | least | most |", "|---|---:|---:|---:|"]
    for name, values in figures.items():
        lines.append(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    return "\n".join(lines)
