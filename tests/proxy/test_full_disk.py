"""A proxy on a full disk: it starts, and keeps running."""

from __future__ import annotations

import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from headrace_proxy.state_directory import locked


@contextmanager
def full_disk() -> Generator[None]:
    """Let no file grow in this process, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_it_starts_without_noting_its_process_id(tmp_path: Path) -> None:
    with full_disk(), locked(tmp_path):
        assert (tmp_path / "proxy.lock").read_text() == ""
