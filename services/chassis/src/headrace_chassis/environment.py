"""Environment variables of processes: which ones are inherited, and what /proc shows of them."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

# An allow-list: what else an administrator's shell contains, such as tokens of other systems, is passed to no process.
_INHERITED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|PYTHONPATH|VIRTUAL_ENV|LD_LIBRARY_PATH"
    r"|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|CUDA_\w+|NVIDIA_\w+"
    r"|HEADRACE_UP_DIRECTORY"  # not a secret: `headrace up` finds all of its processes by it
)

# Read when the interpreter or a library is loaded.
_READ_EARLY = re.compile(
    r"(LD|LC|DASK|OMP|GOMP|KMP|MKL|OPENBLAS|GOTO|BLIS|NUMEXPR|NUMBA|VECLIB|MALLOC|GLIBC|ARROW)_\w*"
    r"|LANG|LANGUAGE|TZ|PYTHON\w*"
)


def needs_fresh_interpreter(names: Iterable[str]) -> bool:
    """Whether one of these variables has no effect on a process that has everything imported."""
    return any(_READ_EARLY.fullmatch(name) for name in names)


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of a server's environment that its processes may see."""
    return {name: value for name, value in environ.items() if _INHERITED.fullmatch(name)}


def replace_environment(environment: Mapping[str, str]) -> None:
    """Replace the environment of this forked process, also where /proc shows the one its parent was executed with.

    There is as much room in /proc as the parent's environment took: the first variables that fit are shown.
    """
    os.environ.clear()  # nothing refers to the parent's variables any more
    os.environ.update(environment)
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end of proc(5)
    shown = b""
    for name, value in environment.items():
        variable = os.fsencode(f"{name}={value}") + b"\0"
        if len(shown) + len(variable) <= end - start:
            shown += variable
    ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)
