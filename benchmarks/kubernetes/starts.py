"""How long clusters and workers take to start: from standby, cold, with dask-gateway, and pods that nobody manages."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import select
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from benchmarks.kubernetes import bare, dask_gateway
from tests.kubernetes.chart.installation import Installation
from tests.kubernetes.running import Kubernetes, image, program_path, until

STANDBY = {"schedulers": 2, "workers": 2}
VALUES = {
    "auth": {"replicas": 1},
    "proxy": {"replicas": 1},
    "controller": {"replicas": 2},
    "valkey": {"persistence": {"enabled": False}},
}
WHAT = {"created": "new_cluster() returns", "usable": "client connected", "joined": "scale 0 to 1 worker"}
Figures: TypeAlias = dict[str, list[float]]
Turn: TypeAlias = Callable[[], dict[str, float]]
"""Starts something once, when all is quiet; returns what took how long, or raises `TimeoutError`."""
_LONGEST_SECONDS = 90.0


class Visitor:
    """A user with the client of a package, in a pod that runs.

    One who gets no cluster within a minute and a half leaves; a new one takes the next turn.
    """

    def __init__(self, kubernetes: Kubernetes, namespace: str, pod: str, package: str) -> None:
        script = Path(__file__).with_name("visitor.py").read_text()
        command = [program_path("kubectl"), "exec", "-i", pod, "-n", namespace]
        self._command = [*command, "--", "python", "-u", "-c", script, package]
        self._environment = {**os.environ, "KUBECONFIG": str(kubernetes.kubeconfig)}
        self._process = self._come()

    def start(self, workers: int, **options: str) -> dict[str, Any]:
        """Makes a cluster with workers and ends it; returns what took how long."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"options": options, "workers": workers}) + "\n")
        self._process.stdin.flush()
        try:
            return _answer(self._process)
        except TimeoutError:
            self.close()
            self._process = self._come()
            raise

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _come(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment
        )
        _answer(process)
        return process


def _answer(visitor: subprocess.Popen[str]) -> dict[str, Any]:
    assert visitor.stdout is not None
    if not select.select([visitor.stdout], [], [], _LONGEST_SECONDS)[0]:
        raise TimeoutError(f"no answer within {_LONGEST_SECONDS:.0f} s")
    line = visitor.stdout.readline()
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
        finally:
            release.uninstall()
            kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")


def until_quiet(release: Installation) -> None:
    """Waits until all pods in standby are there again and ready, and those of earlier clusters have ended."""

    def quiet() -> bool:
        pods = release.get("pods", "-l", "headrace.dev/deployment", "--field-selector=status.phase=Running")["items"]
        labels = [pod["metadata"]["labels"] for pod in pods]
        return len(pods) == sum(STANDBY.values()) and all("headrace.dev/ready" in each for each in labels)

    until(quiet, "all pods in standby are ready", within=120)


def measure(release: Installation, peer: str | None, address: str, rounds: int) -> Figures:
    """Starts all in turn, round by round.

    Parameters
    ----------
    peer
        Namespace of dask-gateway, if it is measured, too.
    address
        Of this machine, as pods reach it.
    """
    figures: Figures = defaultdict(list)
    with ExitStack() as stack:
        turns = stack.enter_context(_turns_of(release))
        if peer:
            turns |= stack.enter_context(_turns_of_peer(release.kubernetes, peer))
        turns |= stack.enter_context(_turns_of_bare_pods(release, address))
        for number in range(rounds + 1):
            for name, turn in turns.items():
                until_quiet(release)
                try:
                    times = turn()
                except TimeoutError as error:
                    print(number, f"{os.getloadavg()[0]:.1f}", f"{name}: {error}, not counted", flush=True)
                    continue
                for what, seconds in times.items():
                    print(number, f"{os.getloadavg()[0]:.1f}", f"{name}: {what}", f"{seconds:.3f}", flush=True)
                    if number:  # the first round is for what happens once
                        figures[f"{name}: {what}"].append(seconds)
    return figures


@contextmanager
def _turns_of(release: Installation) -> Generator[dict[str, Turn]]:
    release.begin("visitor", "import time; time.sleep(3600)")
    until(lambda: release.get("pod", "visitor")["status"]["phase"] == "Running", "the visitor's pod runs")
    with closing(Visitor(release.kubernetes, release.namespace, "visitor", "headrace")) as visitor:
        yield {
            "from standby": lambda: _figures(visitor.start(1, profile="warm")),
            "cold": lambda: _figures(visitor.start(1, profile="cold")),
        }


@contextmanager
def _turns_of_peer(kubernetes: Kubernetes, namespace: str) -> Generator[dict[str, Turn]]:
    with closing(Visitor(kubernetes, namespace, dask_gateway.POD, "dask_gateway")) as visitor:

        def start() -> dict[str, float]:
            try:
                return _figures(visitor.start(1))
            finally:
                dask_gateway.end_clusters(kubernetes, namespace)

        yield {"dask-gateway": start}


@contextmanager
def _turns_of_bare_pods(release: Installation, address: str) -> Generator[dict[str, Turn]]:
    namespace = f"{release.namespace}-bare"  # without NetworkPolicies
    release.kubernetes.kubectl("create", "namespace", namespace)

    def start() -> dict[str, float]:
        return asyncio.run(bare.seconds(release.kubernetes.kubeconfig, namespace, image("headrace-dask"), address))

    try:
        yield {"bare pod": start}
    finally:
        release.kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")


def _figures(times: dict[str, float]) -> dict[str, float]:
    return {what: times[key] for key, what in WHAT.items()}


def table(figures: Figures) -> str:
    """Markdown; medians with the least and the most."""
    lines = ["| s | median | least | most |", "|---|---:|---:|---:|"]
    for name, values in figures.items():
        lines.append(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    return "\n".join(lines)
