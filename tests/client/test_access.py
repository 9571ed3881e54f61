"""Who may do what: the one rule."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from headrace.access import CLUSTER_RIGHTS, SHARED_RIGHTS, Access, Share, may
from headrace.v1.enums import Right

NOT_OF_USERS = {Right.AGENT, Right.SERVICE}


@dataclass(frozen=True)
class Person:
    user: str
    groups: tuple[str, ...] = ()
    is_admin: bool = False


ANN, BOB, ROOT = Person("ann"), Person("bob", ("astro",)), Person("root", is_admin=True)


def shared(member: str, *rights: Right, expires: float | None = None) -> Access:
    return Access("ann", ("people",), (Share(member, frozenset(rights), expires),))


def test_without_a_token_nothing_is_allowed_but_what_everybody_may() -> None:
    assert {right for right in Right if may(None, right)} == {Right.ANYONE}


@pytest.mark.parametrize("person", [ANN, ROOT])
def test_without_a_cluster_users_may_what_is_about_none(person: Person) -> None:
    assert {right for right in Right if may(person, right)} == {Right.ANYONE, Right.USER, Right.CLUSTER_CREATE}


@pytest.mark.parametrize("person", [ANN, ROOT])
def test_owners_and_admins_have_all_rights_of_users(person: Person) -> None:
    assert {right for right in Right if may(person, right, Access("ann"))} == set(Right) - NOT_OF_USERS


@pytest.mark.parametrize("access", [Access("ann"), Access("ann", ("astro",)), shared("users/eve", *SHARED_RIGHTS)])
def test_others_have_none_also_if_they_are_in_a_group_of_the_owner(access: Access) -> None:
    assert {right for right in Right if may(BOB, right, access)} == {Right.ANYONE}


@pytest.mark.parametrize("member", ["users/bob", "groups/astro"])
def test_a_share_grants_what_it_names_and_to_view(member: str) -> None:
    access = shared(member, Right.CLUSTER_SCALE)
    granted = {right for right in CLUSTER_RIGHTS if may(BOB, right, access)}
    assert granted == {Right.CLUSTER_VIEW, Right.CLUSTER_SCALE}


@pytest.mark.parametrize("member", ["users/astro", "groups/bob", "bob", "users/", "", "roles/bob"])
def test_a_share_is_for_its_member_only(member: str) -> None:
    assert not may(BOB, Right.CLUSTER_VIEW, shared(member, Right.CLUSTER_VIEW))


@pytest.mark.parametrize("right", [Right.CLUSTER_MANAGE, Right.CLUSTER_CREATE, Right.USER])
def test_what_cannot_be_shared_is_not_granted_by_a_share_that_names_it(right: Right) -> None:
    assert not may(BOB, right, shared("users/bob", right))


def test_a_share_ends_at_its_time() -> None:
    access = shared("users/bob", Right.CLUSTER_CONNECT, expires=100.0)
    assert may(BOB, Right.CLUSTER_CONNECT, access, now=99.9)
    assert not may(BOB, Right.CLUSTER_CONNECT, access, now=100.0)


def test_one_of_several_shares_is_enough() -> None:
    access = Access("ann", shares=(Share("users/eve", SHARED_RIGHTS), Share("groups/astro", SHARED_RIGHTS)))
    assert may(BOB, Right.CLUSTER_STOP, access)
