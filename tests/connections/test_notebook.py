"""A notebook's kernel whose network is away for a while, as of a laptop that is carried home."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.connections.namespace import Namespace, namespace
from tests.e2e.running import running

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-jupyterlab" / "bin" / "python"
AWAY_SECONDS = 45

MAKE = """
from headrace import Gateway
cluster = Gateway().new_cluster()
cluster.scale(1)
client = cluster.get_client()
futures = client.map(lambda number: __import__("time").sleep(0.02) or number ** 2, range(1000), pure=False)
print("made")
"""
SUBMIT = (
    "late = client.submit(sum, range(10)); print(len(cluster._repr_html_()) > 100, 'reconnecting' in repr(cluster))"
)
GATHER = "print(client.gather(futures) == [number ** 2 for number in range(1000)], late.result())"
LEAVE = "client.close(); cluster.shutdown(); print('left')"


@contextmanager
def _kernel(net: Namespace, directory: Path, data: Path) -> Generator[Callable[[str], str]]:
    """Yield what runs a cell and returns its output. The kernel is in `net`, this process and its server are not."""
    spec = directory / "kernels" / "within"
    spec.mkdir(parents=True)
    packages = [str(ROOT / "client" / "src"), sysconfig.get_path("purelib")]
    argv = [*net.command, str(PYTHON), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "within", "language": "python"}))
    environment = os.environ | {
        "JUPYTER_PATH": str(directory),
        "PYTHONPATH": os.pathsep.join(packages),
        "HEADRACE_DATA_DIR": str(data),
        "DASK_HEADRACE__CONNECT": "proxied",
        "DASK_HEADRACE__PROGRESS": "false",
    }
    command = [str(PYTHON), str(Path(__file__).with_name("kernel.py")), str(directory / "kernel")]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to_kernel, from_kernel = process.stdin, process.stdout
        try:
            assert json.loads(from_kernel.readline()) == "ready"

            def run(cell: str) -> str:
                print(json.dumps(cell), file=to_kernel, flush=True)
                return json.loads(from_kernel.readline()).strip()

            yield run
        finally:
            process.stdin.close()


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: only root can silence a network")
def test_a_notebook_goes_on_after_its_network_was_away() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="hr-nb-") as name,
        running(Path(name)) as headrace,
        namespace(headrace.port) as net,
        _kernel(net, Path(name) / "jupyter", headrace.data) as run,
    ):
        assert run(MAKE).endswith("made")
        net.silence()
        time.sleep(AWAY_SECONDS)
        assert run(SUBMIT).endswith("True True")
        net.speak()
        assert run(GATHER).endswith("True 45")
        assert run(LEAVE).endswith("left")
