"""Work done ahead of need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_PRELOAD = """
import os, sys, tempfile, threading
from headrace.agent import warm_up
before = list(sys.path)
for _ in warm_up.preload():
    pass
assert sys.path == before, sys.path
os.environ["TMPDIR"] = "of-a-cluster"
os.mkdir("of-a-cluster")
assert tempfile.gettempdir() == os.path.abspath("of-a-cluster"), tempfile.gettempdir()
os.rmdir("of-a-cluster")
print(*(thread.name for thread in threading.enumerate()))
"""


def test_preloading_leaves_no_thread_no_file_and_no_path(tmp_path: Path) -> None:
    """Forked processes have no other thread, whose locks would stay locked; and import from no folder of others.

    They write to the temporary directory of their own environment.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PRELOAD],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "MainThread\n"
    assert list(tmp_path.iterdir()) == []
