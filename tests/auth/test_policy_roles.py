"""Admins by the policy: made at a login, for dashboards and API tokens too, and unmade with the policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_auth.authenticators.base import Identity
from headrace_auth.authenticators.realms import Realm, Realms
from headrace_auth.model import ADMIN_BY_POLICY, roles_of_new_token, with_policy
from headrace_auth.policy_roles import PolicyRoles
from headrace_chassis.identity.caller import ADMIN, USER, Caller
from headrace_chassis.roles import Roles

PLAIN, BOTH = frozenset({USER}), frozenset({USER, ADMIN})
BY_POLICY = BOTH | {ADMIN_BY_POLICY}


class NoList:
    """An authenticator that keeps no list of its users."""


@pytest.mark.parametrize(
    ("roles", "makes_admin", "expected"),
    [
        (PLAIN, False, PLAIN),
        (PLAIN, True, BY_POLICY),
        (BY_POLICY, True, BY_POLICY),
        (BY_POLICY, False, PLAIN),  # what the policy gave it takes back
        (BOTH, True, BOTH),
        (BOTH, False, BOTH),  # the authenticator has made them one
    ],
)
def test_the_policy_takes_back_what_it_gave(roles: frozenset[str], makes_admin: bool, expected: frozenset[str]) -> None:
    assert with_policy(roles, makes_admin=makes_admin) == expected


def test_a_token_has_no_more_than_is_asked_for_and_remembers_who_gave_it() -> None:
    assert roles_of_new_token(PLAIN, BY_POLICY) == PLAIN
    assert roles_of_new_token(frozenset({ADMIN}), BY_POLICY) == {ADMIN, ADMIN_BY_POLICY}
    assert roles_of_new_token(frozenset(), BY_POLICY) == BY_POLICY


async def test_logins_and_tokens_follow_the_policy_of_now() -> None:
    roles = [Roles(admins=["groups/staff"])]
    realm = Realm("people", "", "", NoList())  # pyright: ignore[reportArgumentType]
    realms = Realms([realm], roles=lambda: roles[0])
    ann = realms.caller(realm, Identity("ann", groups=("staff",), roles=PLAIN))
    assert ann.is_admin
    claimed = Identity("eve", groups=("other",), roles=PLAIN | {ADMIN_BY_POLICY})
    assert realms.caller(realm, claimed).roles == PLAIN
    assert not realms.caller(realm, Identity("bob", groups=("other",), roles=PLAIN)).is_admin
    roles[0] = Roles()
    assert not (await realms.current(ann)).is_admin
    assert (await realms.current(Caller("root", roles=BOTH, method="people"))).is_admin


def test_changes_are_taken_up_and_faults_leave_things_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("roles: {admins: [users/ann]}\nprofiles: {default: {}}\n")
    found = PolicyRoles(file)
    assert found().makes_admin(Caller("ann"))
    for text in ("roles: {admins: [ann]}", "roles: [", "roles: {owners: []}", "- 1", "x" * (1 << 21), "a: \x00"):
        file.write_text(text)
        found.refresh()
        assert found().makes_admin(Caller("ann")), text
    file.unlink()
    found.refresh()
    assert found().makes_admin(Caller("ann"))
    file.write_text("limits: {}\n")
    found.refresh()
    assert not found().makes_admin(Caller("ann"))


def test_before_a_first_file_nobody_is_an_admin(tmp_path: Path) -> None:
    assert PolicyRoles()() == Roles()
    assert PolicyRoles(tmp_path / "none.yaml")() == Roles()
