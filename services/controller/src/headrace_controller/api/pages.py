"""Serialised pages of clusters, kept as long as nothing that they show can have changed."""

from __future__ import annotations

from typing import NamedTuple

from cachetools import LRUCache

from headrace.v1 import cluster_service_pb2 as pb

_MAX_BYTES = 32 << 20
# Of an entry besides its request and its content.
_OVERHEAD_BYTES = 500


class _Key(NamedTuple):
    request: bytes
    caller: str  # an owner that is not named is the caller, and page tokens belong to the caller


class _Page(NamedTuple):
    version: int  # of the owner's clusters, as the mirror counts it, read before the page was made
    content: bytes
    size: int


class Pages:
    """The pages last used, by request and caller. Whether the caller may see them is checked before."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._pages: LRUCache[_Key, _Page] = LRUCache(max_bytes, getsizeof=lambda page: page.size)

    def get(self, request: pb.ListClustersRequest, caller: str, version: int) -> bytes | None:
        """Return the page, unless it is of another version."""
        page = self._pages.get(_key(request, caller))
        return page.content if page is not None and page.version == version else None

    def put(self, request: pb.ListClustersRequest, caller: str, version: int, content: bytes) -> None:
        """Keep a page, unless it is larger than all may be together."""
        key = _key(request, caller)
        size = len(key.request) + len(content) + _OVERHEAD_BYTES
        if size <= self._pages.maxsize:
            self._pages[key] = _Page(version, content, size)


def _key(request: pb.ListClustersRequest, caller: str) -> _Key:
    return _Key(request.SerializeToString(deterministic=True), caller)
