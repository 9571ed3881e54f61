"""A user in a pod: makes clusters and workers, and says how long that took.

The argument is the package of the client: headrace or dask_gateway. Reads a JSON object
``{"options": {name: value}, "workers": number}`` a line, answers a JSON object a line. Times are seconds.
"""

import importlib
import json
import sys
import time


def start(gateway, options, workers):
    began = time.perf_counter()
    with gateway.new_cluster(**options) as cluster:
        created = time.perf_counter()
        with cluster.get_client() as client:
            times = {"created": created - began, "usable": time.perf_counter() - began}
            if workers:
                began = time.perf_counter()
                cluster.scale(workers)
                client.run_on_scheduler(until_joined, workers)
                times["joined"] = time.perf_counter() - began
            times["cluster"] = cluster.name
    return times


async def until_joined(number, dask_scheduler):
    """Waits on the scheduler itself: Client.wait_for_workers asks ten times a second only."""
    import asyncio

    while len(dask_scheduler.workers) < number:  # noqa: ASYNC110 it has no event
        await asyncio.sleep(0.002)


def connect_without_proxy():
    """Lets dask-gateway's client connect to the Service of a scheduler."""
    from dask_gateway import comm

    parse = comm.parse_gateway_address

    def parse_as_service(address):
        path = parse(address)[2]
        namespace, name = path.split(".")
        return f"dask-{name}.{namespace}", 8786, path

    comm.parse_gateway_address = parse_as_service


package = sys.argv[1]
if package == "dask_gateway":
    connect_without_proxy()
with importlib.import_module(package).Gateway() as gateway:
    gateway.list_clusters()  # logged in, as in a notebook that has been used
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(start(gateway, **json.loads(line))), flush=True)
