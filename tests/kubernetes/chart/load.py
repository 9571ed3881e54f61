"""A user who works while something happens to the installation: calls, computations, and a future that is held."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.kubernetes.chart.installation import Installation
from tests.kubernetes.running import until

SCRIPT = """
    import json, os, uuid
    import headrace

    with headrace.Gateway() as gateway, gateway.new_cluster() as cluster:
        cluster.scale(1)
        with cluster.get_client() as client:
            held = client.submit(uuid.uuid4, pure=False)
            value = held.result()
            calls, failed = 0, []
            print("ready", flush=True)
            while not os.path.exists("/tmp/stop"):
                try:
                    assert cluster.name in [each.name for each in gateway.list_clusters()]
                    assert client.submit(sum, [calls, 1]).result() == calls + 1
                except Exception as error:
                    failed.append(repr(error))
                calls += 1
            print(json.dumps({"calls": calls, "failed": failed, "kept": held.result() == value}))
"""


@dataclass(frozen=True)
class Load:
    """A pod that calls and computes without a pause, and holds a future that no worker could compute again."""

    installation: Installation
    name: str = "load"

    def end(self) -> None:
        """Ends it; no call has failed, and the future is still there."""
        self.installation.kubectl("exec", self.name, "--", "touch", "/tmp/stop")
        result = json.loads(self.installation.finish(self.name).splitlines()[-1])
        assert not result["failed"], result["failed"]
        assert result["kept"], result
        assert result["calls"] > 100, result


@contextmanager
def under_load(installation: Installation) -> Generator[Load]:
    """The user works when this begins; the pod is gone at the end."""
    load = Load(installation)
    installation.begin(load.name, SCRIPT)
    try:
        until(lambda: "ready" in installation.log(load.name), "the load runs", within=180)
        yield load
    finally:
        installation.kubectl("delete", "pod", load.name, "--ignore-not-found", "--wait=false")
