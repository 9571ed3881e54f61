"""Processes whose time of day is wrong: a preloaded library tells it to them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

CLOCKS = {"ahead": 600, "behind": -600}
"""Seconds by which clocks are wrong."""
_SOURCE = Path(__file__).with_name("shifted_clock.c")
_IN_PODS = "/shifted_clock.so"


def build(directory: Path) -> Path:
    """Compiles the library into a directory."""
    library = directory / "shifted_clock.so"
    flags = ["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-nostdlib", "-ffreestanding"]
    subprocess.run(["gcc", *flags, "-o", library, _SOURCE], check=True)
    return library


def environment(library: Path | str, seconds: int) -> dict[str, str]:
    """Returns what a process needs in its environment."""
    return {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(seconds)}


def of_pods(library: Path, seconds: int) -> dict[str, Any]:
    """Returns settings of pods that get the library from their node, which is this machine."""
    return {
        "environment": environment(_IN_PODS, seconds),
        "volumes": {"clock": {"path": _IN_PODS, "source": {"hostPath": {"path": str(library)}}}},
    }
