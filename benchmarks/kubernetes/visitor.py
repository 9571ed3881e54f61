"""A user in a pod: makes clusters and workers, and says how long that took.

Reads a JSON object ``{"profile": name, "workers": number}`` a line, answers a JSON object a line. Times are seconds.
"""

import json
import sys
import time

from headrace import Gateway


def start(gateway, profile, workers):
    began = time.perf_counter()
    with gateway.new_cluster(profile=profile) as cluster:
        created = time.perf_counter()
        with cluster.get_client() as client:
            times = {"created": created - began, "usable": time.perf_counter() - began}
            if workers:
                began = time.perf_counter()
                cluster.scale(workers)
                client.wait_for_workers(workers)
                times["joined"] = time.perf_counter() - began
            times["cluster"] = cluster.name
    return times


with Gateway() as gateway:
    gateway.list_clusters()  # logged in, as in a notebook that has been used
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(start(gateway, **json.loads(line))), flush=True)
