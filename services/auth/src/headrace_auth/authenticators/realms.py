"""Realms: the configured authenticators, and the user ids that their users have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from headrace.errors import PermissionDenied, TokenRevoked
from headrace_auth.authenticators.base import Authenticator, Identity, KnowsUsers, Warns
from headrace_auth.bootstrap_token import BOOTSTRAP, BootstrapToken
from headrace_auth.model import all_roles, is_group_id, is_user_id, with_policy
from headrace_chassis.identity.caller import Caller
from headrace_chassis.logs import get_logger
from headrace_chassis.roles import Roles

log = get_logger()


@dataclass(frozen=True, slots=True)
class Realm:
    """A configured authenticator.

    Attributes
    ----------
    name
        Its name in the settings, and `Caller.method` of its users.
    label
        Name for people.
    prefix
        Put before names to make ids.
    """

    name: str
    label: str
    prefix: str
    authenticator: Authenticator

    @property
    def warning(self) -> str:
        return self.authenticator.warning if isinstance(self.authenticator, Warns) else ""


class Realms:
    """All realms in their configured order, and the bootstrap token.

    Parameters
    ----------
    roles
        Returns the roles of the policy in force.
    """

    def __init__(
        self, realms: Iterable[Realm], bootstrap: BootstrapToken | None = None, roles: Callable[[], Roles] = Roles
    ) -> None:
        self._realms = {realm.name: realm for realm in realms}
        self._roles = roles
        self.bootstrap = bootstrap

    def __iter__(self) -> Iterator[Realm]:
        return iter(self._realms.values())

    def get(self, name: str) -> Realm | None:
        return self._realms.get(name)

    def caller(self, realm: Realm, identity: Identity) -> Caller:
        """Return the user with the ids of this deployment; raise `PermissionDenied` if the user cannot have one."""
        user = realm.prefix + identity.name
        if not identity.name or not is_user_id(user) or not self._owns(realm, user):
            raise PermissionDenied(
                f"{user[:80]!r} cannot be a user id of this deployment: ask the administrator to rename the user "
                f"(without spaces and /), or to change the prefix of {realm.name}"
            )
        groups = tuple(realm.prefix + group for group in identity.groups if self._is_group(realm, realm.prefix + group))
        if len(groups) < len(identity.groups):
            log.warning(
                "groups ignored: they cannot be ids, or are those of another authenticator",
                user=user,
                method=realm.name,
            )
        return self._appointed(Caller(user, groups, all_roles(identity.roles), realm.name, identity.ends))

    async def current(self, caller: Caller) -> Caller:
        """Return a user with the groups and roles of now, from the authenticator that the user comes from.

        Return the caller itself if that authenticator keeps no list of its users. Raise `TokenRevoked` if there is no
        such user any more.
        """
        if caller.method == BOOTSTRAP and self.bootstrap is not None:
            found = self.bootstrap.caller
        elif (realm := self.get(caller.method)) is None:
            raise TokenRevoked(
                f"{caller.user} comes from {caller.method}, which this deployment no longer uses: log in another way"
            )
        elif isinstance(realm.authenticator, KnowsUsers):
            identity = await realm.authenticator.find_user(caller.user.removeprefix(realm.prefix))
            found = self.caller(realm, identity) if identity else None
        else:
            # A release before this one may have let them in.
            found = self._appointed(caller) if is_user_id(caller.user) else None
        if found is None or found.user != caller.user:
            raise TokenRevoked(f"{caller.user} is no longer a user of this deployment")
        return found

    def lists_users_of(self, caller: Caller) -> bool:
        """Whether the authenticator of a user keeps a list of its users."""
        realm = self.get(caller.method)
        return realm is not None and isinstance(realm.authenticator, KnowsUsers)

    def _appointed(self, caller: Caller) -> Caller:
        """Return a user with the roles that the policy gives."""
        return replace(caller, roles=with_policy(caller.roles, makes_admin=self._roles().makes_admin(caller)))

    def _is_group(self, realm: Realm, group: str) -> bool:
        return is_group_id(group) and self._owns(realm, group)

    def _owns(self, realm: Realm, name: str) -> bool:
        """Whether an id is this realm's. The longest prefix decides, so that no name can pretend to be another's id."""
        prefixes = [one.prefix for one in self if name.startswith(one.prefix)]
        return max(prefixes, key=len, default="") == realm.prefix
