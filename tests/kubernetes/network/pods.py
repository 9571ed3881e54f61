"""Pods that stand where the chart's pods and their neighbours stand, and try to reach one another.

Each listens on all ports that a policy of the chart speaks of, and has the labels that the policies select by. What
they do is open TCP connections: that is what a network plugin judges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

Kubectl = Callable[..., str]
PORTS: tuple[int, ...] = (50051, 50052, 8081, 9100, 9101, 8443, 6379, 8786, 8787, 40000)
LISTEN = f"""
import asyncio
async def main():
    async def accept(reader, writer):
        writer.close()
    servers = [await asyncio.start_server(accept, "", port) for port in {PORTS}]
    await asyncio.Event().wait()
asyncio.run(main())
"""
# Prints which of the addresses accept a connection. A dropped packet is repeated after 1, 3 and 7 s.
DIAL = """
import asyncio, json, sys
async def dial(host, port):
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 10)
    except OSError:
        return False
    writer.close()
    return True
async def main():
    print(json.dumps(await asyncio.gather(*(dial(*address) for address in json.loads(sys.argv[1])))))
asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod under test, with its address in the pod network."""

    name: str
    namespace: str
    ip: str = ""


def manifest(name: str, namespace: str, image: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return a pod that listens on all ports."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", LISTEN],
        "resources": {"requests": {"cpu": "5m", "memory": "16Mi"}},
        # The kubelet's probes must pass whatever the policies say.
        "readinessProbe": {"tcpSocket": {"port": 8081}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "containers": [container],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        },
    }


def reached(kubectl: Kubectl, pod: Pod, addresses: Sequence[tuple[str, int]]) -> list[bool]:
    """Say for each address whether a connection from a pod to it is accepted."""
    arguments = ("exec", "-n", pod.namespace, pod.name, "--", "python3", "-c", DIAL, json.dumps(addresses))
    return json.loads(kubectl(*arguments))


def reached_by_all(
    kubectl: Kubectl, asked: Mapping[Pod, Sequence[tuple[str, int]]]
) -> dict[Pod, dict[tuple[str, int], bool]]:
    """Ask all pods at once."""
    with ThreadPoolExecutor(max_workers=len(asked)) as pool:
        answers = pool.map(reached, repeat(kubectl), asked, asked.values())
        return {pod: dict(zip(asked[pod], answer, strict=True)) for pod, answer in zip(asked, answers, strict=True)}
