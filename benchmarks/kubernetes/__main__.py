"""Measures headrace on the Kubernetes of KUBECONFIG: ``python -m benchmarks.kubernetes pods|clusters|starts``.

`pods` and `clusters` need pretended nodes (tests/kubernetes), `starts` a node that runs pods, and the tests' images.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.growth.tables import table
from benchmarks.kubernetes import pods, starts
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_pods = kinds.add_parser("pods", help="CPU, memory and requests of many pods")
    of_pods.add_argument("--pods", type=int, nargs="+", default=[500, 1000, 5000])
    of_pods.add_argument("--clusters", type=int, default=1)
    of_clusters = kinds.add_parser("clusters", help="requests and CPU of clusters that come and go")
    of_clusters.add_argument("--clusters", type=int, default=50)
    of_clusters.add_argument("--workers", type=int, default=2)
    of_starts = kinds.add_parser("starts", help="time until clusters and workers are usable")
    of_starts.add_argument("--rounds", type=int, default=10)
    of_starts.add_argument("--address", default="10.243.0.1", help="of this machine, as pods reach it")
    given = parser.parse_args()
    kubernetes = Kubernetes(Path(os.environ["KUBECONFIG"]))
    if given.kind == "starts":
        with starts.installed(kubernetes) as release:
            print(starts.table(asyncio.run(starts.measure(release, given.address, given.rounds))))
    elif given.kind == "clusters":
        with _namespace(kubernetes) as name:
            print(
                table(asyncio.run(pods.come_and_go(Site(kubernetes.kubeconfig, name), given.clusters, given.workers)))
            )
    else:
        for number in given.pods:
            with _namespace(kubernetes) as name:
                print(table(asyncio.run(pods.live(Site(kubernetes.kubeconfig, name), number, given.clusters))))
    print("Load of the machine in the last 1, 5 and 15 minutes:", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
