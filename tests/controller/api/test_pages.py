"""Kept pages of lists: whose they are, when they are void, and how many there are."""

from __future__ import annotations

from headrace.v1 import cluster_service_pb2 as pb
from headrace_controller.api.pages import Pages

ALL, TAGGED = pb.ListClustersRequest(), pb.ListClustersRequest(filter=pb.ClusterFilter(tags={"a": "b"}))


def test_a_page_belongs_to_its_request_its_caller_and_its_version() -> None:
    pages = Pages()
    pages.put(ALL, "ann", 1, b"page")
    assert pages.get(ALL, "ann", 1) == b"page"
    assert pages.get(ALL, "bob", 1) is None
    assert pages.get(TAGGED, "ann", 1) is None
    assert pages.get(ALL, "ann", 2) is None
    pages.put(ALL, "ann", 2, b"next")
    assert pages.get(ALL, "ann", 2) == b"next"
    assert pages.get(ALL, "ann", 1) is None


def test_pages_are_bounded_by_their_bytes() -> None:
    pages = Pages(max_bytes=10_000)
    for n in range(100):
        pages.put(ALL, f"user-{n}", 1, b"x" * 1000)
    kept = [n for n in range(100) if pages.get(ALL, f"user-{n}", 1) is not None]
    assert kept == list(range(100 - len(kept), 100))
    assert 0 < len(kept) < 10
    pages.put(ALL, "ann", 1, b"x" * 10_000)
    pages.put(pb.ListClustersRequest(page_token="x" * 10_000), "ann", 1, b"")
    assert [n for n in range(100) if pages.get(ALL, f"user-{n}", 1) is not None] == kept
