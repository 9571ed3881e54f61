"""A user in a process of its own who gets one cluster again and again, until its standard input ends."""

from __future__ import annotations

import json
import sys
import threading
import time

import grpc

from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.cluster_service_pb2_grpc import ClusterServiceStub

_PAUSE_SECONDS = 0.002


def main(endpoint: str, authorization: str, name: str) -> None:
    """Prints a line when it has its first answer, and the latencies in seconds at the end."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    latencies: list[float] = []
    with grpc.insecure_channel(endpoint) as channel:
        stub, request = ClusterServiceStub(channel), pb.GetClusterRequest(name=name)
        metadata = (("authorization", authorization),)
        stub.GetCluster(request, metadata=metadata, timeout=60)
        print("ready", flush=True)
        while not ended.wait(_PAUSE_SECONDS):
            started = time.perf_counter()
            stub.GetCluster(request, metadata=metadata, timeout=60)
            latencies.append(time.perf_counter() - started)
    print(json.dumps(latencies), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
