"""Who may do what: every right, for all users that a cluster knows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from headrace.access import SHARED_RIGHTS, Access, Role, Share, may, members_for, next_end, role_for, visits_through
from headrace.v1.enums import Right

NOW = 100.0


@dataclass(frozen=True)
class Person:
    user: str
    groups: tuple[str, ...] = ()
    is_admin: bool = False


OWNER = Person("ann")
ADMIN = Person("root", is_admin=True)
VIEWER, CONNECTOR, SCALER, STOPPER = (Person(name) for name in ("vera", "carl", "sue", "tom"))
STRANGER = Person("bob")

ACCESS = Access(
    "ann",
    groups=("lab",),
    shares=(
        Share("users/vera", frozenset({Right.CLUSTER_VIEW})),
        Share("users/carl", frozenset({Right.CLUSTER_CONNECT})),
        Share("users/sue", frozenset({Right.CLUSTER_SCALE})),
        Share("users/tom", frozenset({Right.CLUSTER_STOP})),
    ),
)
VIEW, CONNECT, SCALE, STOP, MANAGE = (
    Right.CLUSTER_VIEW,
    Right.CLUSTER_CONNECT,
    Right.CLUSTER_SCALE,
    Right.CLUSTER_STOP,
    Right.CLUSTER_MANAGE,
)
ON_CLUSTERS = {VIEW, CONNECT, SCALE, STOP, MANAGE}
OF_USERS = {Right.ANYONE, Right.USER, Right.CLUSTER_CREATE}


@pytest.mark.parametrize("right", Right)
@pytest.mark.parametrize(
    ("caller", "rights"),
    [
        (OWNER, ON_CLUSTERS | OF_USERS),
        (ADMIN, ON_CLUSTERS | OF_USERS),
        (VIEWER, {Right.ANYONE, VIEW}),
        (CONNECTOR, {Right.ANYONE, VIEW, CONNECT}),
        (SCALER, {Right.ANYONE, VIEW, SCALE}),
        (STOPPER, {Right.ANYONE, VIEW, STOP}),
        (STRANGER, {Right.ANYONE}),
        (None, {Right.ANYONE}),
    ],
)
def test_each_right_on_a_cluster(caller: Person | None, rights: set[Right], right: Right) -> None:
    assert may(caller, right, ACCESS, now=NOW) is (right in rights)


@pytest.mark.parametrize("right", Right)
@pytest.mark.parametrize(
    ("caller", "rights"), [(OWNER, OF_USERS), (ADMIN, OF_USERS), (STRANGER, OF_USERS), (None, {Right.ANYONE})]
)
def test_each_right_without_a_cluster(caller: Person | None, rights: set[Right], right: Right) -> None:
    assert may(caller, right) is (right in rights)


@pytest.mark.parametrize(
    ("member", "caller", "granted"),
    [
        ("groups/lab", Person("x", groups=("lab",)), True),
        ("groups/lab", Person("x", groups=("other",)), False),
        ("groups/lab", Person("lab"), False),  # a user is no group, whatever the name
        ("users/lab", Person("x", groups=("lab",)), False),
        ("users/x", Person("x"), True),
        ("x", Person("x"), False),
        ("machines/x", Person("x"), False),
        ("", Person("x"), False),
    ],
)
def test_members_are_users_or_groups(member: str, caller: Person, granted: bool) -> None:
    access = Access("ann", shares=(Share(member, frozenset({STOP})),))
    assert may(caller, STOP, access, now=NOW) is granted


@pytest.mark.parametrize(("expires", "granted"), [(None, True), (NOW + 1, True), (NOW, False), (NOW - 1, False)])
@pytest.mark.parametrize("right", [VIEW, STOP])
def test_shares_end(expires: float | None, granted: bool, right: Right) -> None:
    access = Access("ann", shares=(Share("users/bob", frozenset({STOP}), expires),))
    assert may(STRANGER, right, access, now=NOW) is granted


@pytest.mark.parametrize("right", Right)
@pytest.mark.parametrize(("operator", "person"), [("users/olga", Person("olga")), ("groups/s", Person("x", ("s",)))])
def test_operators_see_scale_and_stop(right: Right, operator: str, person: Person) -> None:
    access = Access("ann", groups=("lab",), operators=(frozenset[str](), frozenset({operator, "users/eve"})))
    assert may(person, right, access) is (right in {Right.ANYONE, VIEW, SCALE, STOP})
    assert not may(STRANGER, VIEW, access)


@pytest.mark.parametrize(
    ("person", "role", "members"),
    [
        (OWNER, Role.OWNER, ["users/ann"]),
        (ADMIN, Role.ADMIN, ["roles/admin"]),
        (CONNECTOR, Role.SHARED, ["users/carl"]),
        (VIEWER, None, []),
        (STRANGER, None, []),
    ],
)
def test_as_what_and_through_whom_somebody_connects(person: Person, role: Role | None, members: list[str]) -> None:
    assert role_for(person, CONNECT, ACCESS, now=NOW) == role
    assert members_for(person, CONNECT, ACCESS, now=NOW) == members
    assert visits_through(person, ACCESS, now=NOW) == members


@pytest.mark.parametrize(
    ("person", "members"),
    [
        (Person("olga"), ["roles/operator"]),
        (Person("x", groups=("staff",)), ["roles/operator"]),
        (STRANGER, []),
        (OWNER, ["users/ann"]),
        (ADMIN, ["roles/admin"]),
        (CONNECTOR, ["users/carl"]),
        (VIEWER, ["roles/operator"]),
    ],
)
def test_operators_open_dashboards_and_do_not_connect(person: Person, members: list[str]) -> None:
    access = replace(
        ACCESS, operators=(frozenset({"users/olga", "users/carl"}), frozenset({"groups/staff", "users/vera"}))
    )
    assert visits_through(person, access, now=NOW) == members
    assert ("roles/operator" in members) <= (not members_for(person, CONNECT, access, now=NOW))


def test_the_next_share_to_end() -> None:
    ends = [None, NOW - 1, NOW + 9, NOW + 5]
    access = Access("ann", shares=tuple(Share("users/x", frozenset({VIEW}), end) for end in ends))
    assert next_end(access, NOW) == NOW + 5
    assert next_end(ACCESS, NOW) is None


@pytest.mark.parametrize("right", sorted(set(Right) - SHARED_RIGHTS - {Right.ANYONE}))
def test_a_share_grants_nothing_that_cannot_be_shared(right: Right) -> None:
    access = Access("ann", shares=(Share("users/bob", frozenset({right})),))
    assert not may(STRANGER, right, access, now=NOW)


def test_the_owners_groups_grant_nothing() -> None:
    assert not may(Person("x", groups=("lab",)), VIEW, ACCESS, now=NOW)
