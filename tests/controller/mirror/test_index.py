"""The index: newest first, by owner, and by alias while a cluster may be found by it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.controller.builders import ANN, new_cluster

from headrace_controller.mirror.index import Index
from headrace_controller.model import Cluster, Phase, Status, UserId

BOB = UserId("bob")


def ended(cluster: Cluster) -> Cluster:
    return replace(cluster, status=Status(phase=Phase.STOPPED))


def test_clusters_come_newest_first_by_owner_and_by_life() -> None:
    index = Index()
    clusters = [new_cluster(f"c{n}", owner=(ANN, BOB)[n % 2]) for n in range(6)]
    for n in (3, 0, 5, 1, 4, 2):
        index.put(None, clusters[n], 100 + n)
    index.put(clusters[4], ended(clusters[4]), 104)
    assert index.ids(None, None, None) == ["c5", "c4", "c3", "c2", "c1", "c0"]
    assert index.ids(None, True, None) == ["c5", "c3", "c2", "c1", "c0"]
    assert index.ids(ANN, False, None) == ["c4"]
    assert index.ids(ANN, None, 104) == ["c2", "c0"]
    assert index.ids(BOB, True, 103) == ["c1"]
    assert index.ids(UserId("carl"), None, None) == []
    assert index.place(clusters[3].id) == 103
    index.discard(clusters[3])
    assert index.ids(BOB, None, None) == ["c5", "c1"]
    assert index.place(clusters[3].id) == 0


def test_an_alias_is_found_until_its_cluster_is_stopping() -> None:
    index = Index()
    first, second = new_cluster("c1", alias="etl"), new_cluster("c2", alias="etl")
    index.put(None, second, 2)
    assert index.by_alias(ANN, "etl") == "c2"
    index.put(None, first, 1)
    assert index.by_alias(ANN, "etl") == "c1"  # which had it when the other one was adopted
    assert index.by_alias(BOB, "etl") is None
    index.put(first, replace(first, spec=replace(first.spec, stop=True)), 1)
    assert index.by_alias(ANN, "etl") == "c2"
    index.discard(second)
    assert index.by_alias(ANN, "etl") is None


def test_a_cluster_that_was_adopted_again_has_another_place() -> None:
    index = Index()
    one, two = new_cluster("c1"), new_cluster("c2")
    index.put(None, one, 1)
    index.put(None, two, 2)
    index.put(one, one, 3)
    assert index.ids(None, None, None) == ["c1", "c2"]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["put", "end", "discard"])), max_size=60))
def test_the_index_is_what_sorting_would_give(steps: list[tuple[int, str]]) -> None:
    index, known = Index(), dict[str, Cluster]()
    for n, step in steps:
        cluster = new_cluster(f"c{n}", owner=(ANN, BOB)[n % 2], alias="a" * (n % 3))
        old = known.get(cluster.id)
        if step == "discard":
            if old:
                index.discard(known.pop(cluster.id))
            continue
        new = ended(cluster) if step == "end" else cluster
        index.put(old, new, n)
        known[cluster.id] = new
    for owner in (None, ANN, BOB):
        for living in (None, True, False):
            expected = [
                cluster.id
                for cluster in sorted(known.values(), key=lambda c: index.place(c.id), reverse=True)
                if owner in {None, cluster.owner} and living in {None, not cluster.status.phase.ended}
            ]
            assert index.ids(owner, living, None) == expected
