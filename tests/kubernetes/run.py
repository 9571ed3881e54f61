"""``python -m tests.kubernetes.run [--keep STATE] [PYTEST-ARGUMENT...]``: a cluster, the tests against it, its end.

With ``--keep`` the cluster in STATE is started unless it runs, gets the images of the working tree, and stays.
Where KUBECONFIG is set, that cluster is used as it is; its images are named by HEADRACE_TEST_IMAGE_... .
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from tests.kubernetes.running import ROOT, Kubernetes, own_cluster


def main() -> int:
    """Runs the tests; returns pytest's exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, metavar="STATE", help="folder of a cluster that stays")
    asked, arguments = parser.parse_known_args()
    signal.signal(signal.SIGTERM, _interrupt)
    given = os.environ.get("KUBECONFIG")
    keep = asked.keep.resolve() if asked.keep else None
    with contextlib.nullcontext(Kubernetes(Path(given))) if given else own_cluster(keep) as cluster:
        tests = arguments if any(not word.startswith("-") for word in arguments) else ["tests/kubernetes", *arguments]
        # Pods are waited for more than computed in: several tests at a time, those that share something in one process.
        at_once = ["-n", "3", "--dist", "loadgroup", "--no-loadscope-reorder"]
        command = [sys.executable, "-m", "pytest", *at_once, "--durations", "15", *tests]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)})
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal sends Ctrl-C to pytest too; whoever ends only this process does not.
            process.send_signal(signal.SIGINT)
            process.wait()
            return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
