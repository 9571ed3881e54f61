"""Keeps the manifests of clusters in files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from headrace.private_files import write_private
from headrace_backend_local import paths
from headrace_chassis import tenant_files


def write(directory: Path, cluster: str, manifest: bytes) -> None:
    """Replaces a manifest atomically; it survives a power failure right afterwards."""
    write_private(paths.manifest(directory, cluster), manifest)


def read(directory: Path, clusters: Iterable[str]) -> dict[str, bytes]:
    """Returns the manifests of those clusters that have one. Something else in its place is no manifest."""
    found: dict[str, bytes] = {}
    for cluster in clusters:
        with contextlib.suppress(FileNotFoundError, tenant_files.NotAsMade):
            found[cluster] = _read(paths.manifest(directory, cluster))
    return found


def remove(directory: Path, cluster: str) -> None:
    """Removes a manifest, and its drafts left by controllers that were killed while they wrote them."""
    path = paths.manifest(directory, cluster)
    for found in (path, *path.parent.glob(f".{cluster}.*")):
        tenant_files.remove(found)


def _read(path: Path) -> bytes:
    with os.fdopen(tenant_files.open_file(path), "rb") as file:
        return file.read()
