"""Ids of users: by authenticator, and never another's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from headrace.errors import PermissionDenied, TokenRevoked
from headrace_auth.authenticators.base import Identity
from headrace_auth.authenticators.realms import Realm, Realms
from headrace_auth.bootstrap_token import BootstrapToken
from headrace_chassis.identity.caller import Caller


@dataclass
class Directory:
    """Keeps a list of users."""

    users: dict[str, Identity] = field(default_factory=dict[str, Identity])

    async def check_password(self, username: str, password: str) -> Identity | None:
        return self.users.get(username)

    async def find_user(self, name: str) -> Identity | None:
        return self.users.get(name)


class Foreign:
    """Issues tokens and keeps no list that can be asked."""

    async def check_token(self, token: str) -> Identity | None:
        return Identity(token)


ANN = Identity("ann", ("astro",))


def realms(*prefixes: str, bootstrap: BootstrapToken | None = None) -> Realms:
    """One realm for each prefix, named r0, r1 and so on; each knows its own ann."""
    return Realms([Realm(f"r{n}", "", prefix, Directory({"ann": ANN})) for n, prefix in enumerate(prefixes)], bootstrap)


def caller(all_of_them: Realms, name: str, identity: Identity) -> Caller:
    realm = all_of_them.get(name)
    assert realm is not None
    return all_of_them.caller(realm, identity)


def test_users_and_groups_have_the_prefix_of_their_authenticator() -> None:
    both = realms("hub:", "")
    assert caller(both, "r0", ANN) == Caller("hub:ann", ("hub:astro",), frozenset({"user"}), "r0")
    assert caller(both, "r1", ANN) == Caller("ann", ("astro",), frozenset({"user"}), "r1")


def test_an_admin_is_a_user_and_unknown_roles_are_left_out() -> None:
    identity = Identity("ann", roles=frozenset({"admin", "king"}))
    assert caller(realms(""), "r0", identity).roles == {"admin", "user"}


@pytest.mark.parametrize(
    ("prefixes", "realm", "name"),
    [
        (("hub:", ""), "r1", "hub:ann"),
        (("a:", "a:b:"), "r0", "b:ann"),
        (("",), "r0", ""),
        (("hub:",), "r0", ""),
        (("",), "r0", "-"),
        (("",), "r0", "."),
        (("",), "r0", ".."),
        (("",), "r0", "a/b"),
        (("hub:",), "r0", "a/b"),
        (("",), "r0", "a b"),
        (("",), "r0", "a\u00a0b"),
        (("",), "r0", "a\u200bb"),
        (("",), "r0", "a\nb"),
        (("",), "r0", "a\x00b"),
        (("",), "r0", "x" * 257),
        (("hub:",), "r0", "x" * 253),
    ],
)
def test_a_name_that_would_be_anothers_id_or_none_is_refused(prefixes: tuple[str, ...], realm: str, name: str) -> None:
    with pytest.raises(PermissionDenied, match="cannot be a user id"):
        caller(realms(*prefixes), realm, Identity(name))


@pytest.mark.parametrize(("realm", "user"), [("r0", "a:ann"), ("r1", "a:b:ann")])
def test_prefixes_may_start_alike(realm: str, user: str) -> None:
    assert caller(realms("a:", "a:b:"), realm, Identity("ann")).user == user


@pytest.mark.parametrize("group", ["", "-", "..", "a/../b", "/a", "a b", "a\nb", "x" * 257])
def test_a_group_that_cannot_be_an_id_is_left_out(group: str) -> None:
    assert caller(realms(""), "r0", Identity("ann", (group, "astro/lasers"))).groups == ("astro/lasers",)


def test_a_group_that_would_be_anothers_is_left_out() -> None:
    identity = Identity("ann", ("hub:staff", "astro"))
    assert caller(realms("hub:", ""), "r1", identity).groups == ("astro",)


async def test_a_user_is_looked_up_where_they_come_from_not_where_somebody_has_the_same_name() -> None:
    both = realms("", "")
    first = both.get("r0")
    assert first is not None
    assert isinstance(first.authenticator, Directory)
    first.authenticator.users = {"ann": Identity("ann", ("one",), frozenset({"admin"}))}
    assert await both.current(Caller("ann", method="r1")) == Caller("ann", ("astro",), method="r1")


@pytest.mark.parametrize(
    "user",
    [
        Caller("hub:bob", method="r0"),
        Caller("ann", method="r0"),  # the prefix was another when it was recorded
        Caller("hub:ann", method="gone"),
        Caller("hub:ann", method=""),
        Caller("hub:ann", method="bootstrap"),
    ],
)
async def test_who_is_no_user_any_more_is_refused(user: Caller) -> None:
    with pytest.raises(TokenRevoked):
        await realms("hub:").current(user)


async def test_without_a_list_of_users_what_was_recorded_stays() -> None:
    user = Caller("hub:ann", ("hub:astro",), frozenset({"user"}), "hub")
    assert await Realms([Realm("hub", "", "hub:", Foreign())]).current(user) == user


async def test_a_user_whose_name_an_older_release_let_in_is_refused() -> None:
    with pytest.raises(TokenRevoked):
        await Realms([Realm("hub", "", "", Foreign())]).current(Caller("a/b", method="hub"))


async def test_the_bootstrap_token_vouches_for_its_user_only() -> None:
    token = BootstrapToken("operator", frozenset({"admin", "user"}), "digest")
    all_of_them = realms("", bootstrap=token)
    asked = Caller("operator", method="bootstrap")
    assert await all_of_them.current(asked) == replace(asked, roles=token.roles)
    with pytest.raises(TokenRevoked):
        await all_of_them.current(Caller("ann", method="bootstrap"))
