"""Keeps manifests of clusters in files that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from headrace_backend_local import places


def write(directory: Path, cluster: str, manifest: bytes) -> None:
    """Keeps a manifest; survives the machine going down right afterwards."""
    path = places.manifest(directory, cluster)
    draft = path.parent / f".{cluster}.{os.getpid()}"
    with open(draft, "wb", opener=_private) as file:
        file.write(manifest)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read(directory: Path, clusters: Iterable[str]) -> dict[str, bytes]:
    """Returns the manifests of those of the clusters that have one."""
    found: dict[str, bytes] = {}
    for cluster in clusters:
        with contextlib.suppress(FileNotFoundError):
            found[cluster] = places.manifest(directory, cluster).read_bytes()
    return found


def remove(directory: Path, cluster: str) -> None:
    """Removes a manifest, and drafts of it that controllers have left which were killed over them."""
    path = places.manifest(directory, cluster)
    for found in (path, *path.parent.glob(f".{cluster}.*")):
        found.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
