"""Measures headrace on the Kubernetes of KUBECONFIG: ``python -m benchmarks.kubernetes KIND``.

`starts` needs a node that runs pods, and the tests' images; `workers` needs no Kubernetes; all others pretended nodes
(tests/kubernetes).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from benchmarks.growth.tables import Row, table
from benchmarks.kubernetes import cold_workers, dask_gateway, pods, running_controller, starts
from benchmarks.kubernetes.pods import Site
from tests.kubernetes.running import Kubernetes


@contextmanager
def _namespace(kubernetes: Kubernetes) -> Generator[str]:
    name = f"bench-{secrets.token_hex(3)}"
    kubernetes.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        kubernetes.kubectl("delete", "namespace", name, "--wait=false")


async def _controller(kubernetes: Kubernetes, pods: int) -> list[Row]:
    with _namespace(kubernetes) as name:
        async with running_controller.running(kubernetes, name) as controller:
            return await running_controller.live(controller, pods)


async def _clusters(kubernetes: Kubernetes, clusters: int, workers: int) -> list[Row]:
    with _namespace(kubernetes) as name:
        async with running_controller.running(kubernetes, name) as controller:
            return await running_controller.come_and_go(controller, kubernetes, name, clusters, workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_pods = kinds.add_parser("pods", help="CPU, memory and requests of many pods")
    of_pods.add_argument("--pods", type=int, nargs="+", default=[500, 1000, 5000])
    of_pods.add_argument("--clusters", type=int, default=1)
    of_controller = kinds.add_parser("controller", help="the same of a whole controller")
    of_controller.add_argument("--pods", type=int, nargs="+", default=[500, 1000, 5000])
    of_clusters = kinds.add_parser("clusters", help="what clusters that come and go cost a controller, and leave")
    of_clusters.add_argument("--clusters", type=int, default=50)
    of_clusters.add_argument("--workers", type=int, default=2)
    of_starts = kinds.add_parser("starts", help="time until clusters and workers are usable")
    of_starts.add_argument("--rounds", type=int, default=10)
    of_starts.add_argument("--alone", action="store_true", help="not beside dask-gateway")
    of_starts.add_argument("--address", default="10.243.0.1", help="of this machine, as pods reach it")
    of_workers = kinds.add_parser("workers", help="what the start of a cold worker costs, beside dask worker")
    of_workers.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    if given.kind == "workers":
        print(cold_workers.table(asyncio.run(cold_workers.measure(given.rounds))))
    else:
        _measure(given)
    print("Load of the machine in the last 1, 5 and 15 minutes:", *(f"{load:.1f}" for load in os.getloadavg()))


def _measure(given: argparse.Namespace) -> None:
    kubernetes = Kubernetes(Path(os.environ["KUBECONFIG"]))
    if given.kind == "starts":
        beside = nullcontext() if given.alone else dask_gateway.installed(kubernetes)
        with beside as peer, starts.installed(kubernetes) as release:
            print(starts.table(starts.measure(release, peer, given.address, given.rounds)))
    elif given.kind == "clusters":
        print(table(asyncio.run(_clusters(kubernetes, given.clusters, given.workers))))
    elif given.kind == "controller":
        rows = [row for number in given.pods for row in asyncio.run(_controller(kubernetes, number))]
        print(table(rows))
    else:
        for number in given.pods:
            with _namespace(kubernetes) as name:
                print(table(asyncio.run(pods.live(Site(kubernetes.kubeconfig, name), number, given.clusters))))


if __name__ == "__main__":
    main()
