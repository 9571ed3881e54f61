"""Whom another policy would affect."""

from __future__ import annotations

from dataclasses import replace

from tests.controller.builders import new_cluster

from headrace_controller.model import Cluster, ClusterId, Group, Queued, UserId
from headrace_controller.policing.effects import Effect, Offer, effects
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import build_profiles


def offer(text: str) -> Offer:
    policy = PolicyFile.read(text)
    return Offer.of(policy, build_profiles(policy, {"local": [], "pods": []}))


def cluster(
    id_: str, workers: int = 0, *, owner: str = "ann", profile: str = "a", groups: tuple[str, ...] = ()
) -> Cluster:
    made = new_cluster(profile=profile, groups=(Group(size=workers, options={"worker_memory": 2**30}),))
    return replace(made, id=ClusterId(id_), owner=UserId(owner), groups=groups)


def test_without_a_difference_nobody_is_affected() -> None:
    same = offer("profiles: {a: {limits: {cores: 1}}}")
    assert effects([cluster("x", 8)], same, same) == []


def test_who_uses_more_than_a_lowered_limit_is_named_with_what_they_use() -> None:
    known = [cluster("x", 3, groups=("lab",)), cluster("y", 2, groups=("lab",)), cluster("z", 1, owner="bob")]
    before = offer(
        "{profiles: {a: {}}, scheduler: {cores: 0, memory_bytes: 0}, limits: {user: {cores: 4, clusters: 1}}}"
    )
    after = offer(
        "{profiles: {a: {limits: {workers: 5}}}, scheduler: {cores: 0, memory_bytes: 0}, limits: {"
        "user: {cores: 3, clusters: 1}, users: {bob: {memory_bytes: 0.5 GiB}},"
        "groups: {lab: {workers: 4}}, cluster: {workers: 2}, deployment: {clusters: 3}}}"
    )
    assert set(effects(known, before, after)) == {
        Effect("limits.cluster", "clusters/x", "uses 3 of the 2 workers that it may use: it gets no more", "ann"),
        Effect("limits.user", "users/ann", "uses 5 of the 3 cores that it may use: it gets no more"),
        Effect("limits.users.bob", "users/bob", "uses 1 GiB of the 512 MiB of memory that it may use: it gets no more"),
        Effect("limits.groups.lab", "groups/lab", "uses 5 of the 4 workers that it may use: it gets no more"),
        Effect("profiles.a.limits", "profiles/a", "uses 6 of the 5 workers that it may use: it gets no more"),
    }


def test_who_loses_workers_is_told_so_and_who_has_left_the_queue_counts() -> None:
    queued = Queued(since=1, turn=1, subject="deployment", resource="workers", most=9, used=9, asked=1, admitted=2)
    known = [replace(cluster("x", 3), queued=queued), replace(cluster("y", 9), queued=replace(queued, admitted=None))]
    after = offer("{profiles: {a: {}}, limits: {user: {workers: 1}, on_lowered: scale_down}}")
    [found] = effects(known, offer("profiles: {a: {}}"), after)
    workers = "workers are retired, those of the newest clusters first"
    assert found.message == f"uses 3 of the 1 worker that it may use: {workers}"


def test_clusters_of_a_profile_that_goes_or_moves_are_named() -> None:
    known = [cluster("x"), cluster("y", profile="b", owner="bob"), cluster("z", profile="gone")]
    kept = cluster("k", profile="b", owner="bob")
    kept = replace(kept, spec=replace(kept.spec, backend="pods"))
    before = offer("profiles: {a: {}, b: {backend: pods}, c: {}}")
    moves = "its profile b moves from backend pods to local: it stays on pods"
    assert effects([kept], before, offer("profiles: {b: {backend: local}}")) == [
        Effect("profiles.b", "clusters/k", moves, "bob")
    ]
    gone = "its profile b goes away: it runs on, and cannot be created again"
    assert effects([kept], before, offer("profiles: {a: {}}")) == [Effect("profiles.b", "clusters/k", gone, "bob")]
    assert effects(known, before, offer("profiles: {b: {backend: local}}")) == [
        Effect("profiles.a", "clusters/x", "its profile a goes away: it runs on, and cannot be created again", "ann"),
        Effect(
            "profiles.b",
            "clusters/y",
            "its profile b moves from backend pods to local: it gets no new workers that reach its scheduler",
            "bob",
        ),
    ]


def test_clusters_whose_options_no_longer_fit_are_named() -> None:
    known = [cluster("x", 1), cluster("y", 1, groups=("students",))]
    after = offer(
        "profiles: {a: {options: {worker_memory: {minimum: 1 GiB}}, for_groups: {students: "
        "{worker_memory: {minimum: 2 GiB}}}}}"
    )
    assert effects(known, offer("profiles: {a: {}}"), after) == [
        Effect(
            "profiles.a.options.worker_memory",
            "clusters/y",
            "its option worker_memory must be at least 2 GiB, is 1 GiB: it runs on, and cannot be created again",
            "ann",
        )
    ]


def test_owners_who_lose_or_gain_a_profile_are_named() -> None:
    known = [cluster("x", groups=("lab",)), cluster("y", owner="bob")]
    before = offer("profiles: {a: {}, b: {groups: [lab]}, c: {users: [carl]}}")
    after = offer("profiles: {a: {}, b: {groups: [staff]}, c: {}}")
    assert effects(known, before, after) == [
        Effect("profiles.b", "users/ann", "may no longer choose the profile b"),
        Effect("profiles.c", "users/ann", "may choose the profile c"),
        Effect("profiles.c", "users/bob", "may choose the profile c"),
    ]


def test_who_becomes_an_admin_or_operator_and_who_ceases_is_named() -> None:
    before = offer("roles: {admins: [users/ann, users/bob], operators: {lab: [users/carl]}}")
    after = offer("roles: {admins: [users/bob, groups/ops], operators: {lab: [groups/staff], hpc: [users/carl]}}")
    known = [cluster("x", groups=("lab",)), cluster("y", groups=("lab", "hpc"))]
    assert effects(known, before, after) == [
        Effect("roles.admins", "users/ann", "is an admin no more, unless auth makes it one"),
        Effect("roles.admins", "groups/ops", "may do everything with every cluster"),
        Effect(
            "roles.operators.lab",
            "users/carl",
            "may no longer see, scale and stop the clusters of groups/lab and open their dashboards (2 now)",
        ),
        Effect(
            "roles.operators.lab",
            "groups/staff",
            "may see, scale and stop the clusters of groups/lab and open their dashboards (2 now)",
        ),
        Effect(
            "roles.operators.hpc",
            "users/carl",
            "may see, scale and stop the clusters of groups/hpc and open their dashboards (1 now)",
        ),
    ]
