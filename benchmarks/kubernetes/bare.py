"""Pods that Kubernetes alone starts, of the same image: what no system that starts a pod can be faster than."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any

from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.connecting import connect

# Each calls back when it listens, so that no report of a kubelet is waited for.
_CALL_BACK = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2]))).sendall(b'.')"
IMPORTS = "distributed imported, listens"
PROGRAMS = {
    IMPORTS: f"""
import asyncio, distributed
async def main():
    async with await asyncio.start_server(lambda *_: None, "0.0.0.0", 8786):
        {_CALL_BACK}
asyncio.run(main())
""",
    "a Dask scheduler listens": f"""
import asyncio
from distributed import Scheduler
async def main():
    async with Scheduler(port=8786, dashboard_address=":8787"):
        {_CALL_BACK}
asyncio.run(main())
""",
}


async def seconds(kubeconfig: Path, namespace: str, image: str, host: str) -> dict[str, float]:
    """From the request to create a pod until its program listens, of each program; the pods are removed again."""
    api = await connect(Settings(kubeconfig=kubeconfig, namespace=namespace))
    try:
        figures = {name: await _seconds(api, namespace, image, program, host) for name, program in PROGRAMS.items()}
        imports = PROGRAMS[IMPORTS]
        # As most pods have one. A kubelet looks every 300 ms whether volumes are mounted, and not where there is none.
        figures[f"{IMPORTS}, with a token's volume"] = await _seconds(api, namespace, image, imports, host, volume=True)
        return figures
    finally:
        await api.close()


async def _seconds(api: Api, namespace: str, image: str, program: str, host: str, *, volume: bool = False) -> float:
    called = asyncio.Event()

    def on_call(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        writer.close()

    async with await asyncio.start_server(on_call, host, 0) as server:
        port = server.sockets[0].getsockname()[1]
        body = _pod(f"bare-{secrets.token_hex(4)}", image, ["python", "-c", program, host, str(port)], volume)
        began = time.perf_counter()
        pod = await api.create_pod(namespace, body)
        try:
            async with asyncio.timeout(120):
                await called.wait()
            return time.perf_counter() - began
        finally:
            await api.delete_pod(pod, grace_seconds=0)


def _pod(name: str, image: str, command: list[str], volume: bool) -> dict[str, Any]:
    container = {
        "name": "dask",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}},
    }
    spec = {"restartPolicy": "Never", "automountServiceAccountToken": volume, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
