"""Profiles: the kinds of clusters that an administrator offers. Each has a backend, options and limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from headrace.errors import InvalidRequest
from headrace.option_types import BadValue, OptionValue
from headrace_controller.model import Limits
from headrace_controller.options.catalogue import Option, Options
from headrace_controller.options.declaring import declare, merge, narrow
from headrace_controller.options.programs import Offer, Program
from headrace_controller.options.setting import Setting, Settings, check_setting, make_setting
from headrace_controller.options.standard import standard_options
from headrace_controller.options.variables import ENVIRONMENT
from headrace_controller.policy.file import Path, PolicyFile, UnfitPolicy, faults_of
from headrace_controller.policy.modules import CannotImport
from headrace_controller.policy.offers import ProfileSettings
from headrace_controller.policy.option_settings import OptionSettings, check_new_key

T = TypeVar("T")
NOTHING = Offer()
_Faults = list[tuple[Path, str]]


class UnknownProfile(LookupError):
    """The policy has no such profile, or does not offer it to this user. A cluster may outlive its profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom profiles and options are offered to. Admins may choose every profile."""

    user: str
    groups: tuple[str, ...] = ()
    is_admin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of cluster.

    Attributes
    ----------
    options
        By key.
    of_groups
        Options as members of a group have them instead, by key; the first group in the policy's order wins.
    settings
        What options set; others do not give what these set.
    program
        Function that offers more options, or None.
    backend_settings
        Settings of the backend for it, as the backend's own model; None if the backend has none.
    limits
        Those of all its clusters together; None means none.
    users, groups
        Who may choose it; everybody if both are empty.
    """

    key: str
    label: str
    description: str
    backend: str
    options: Mapping[str, Option]
    of_groups: Mapping[str, Mapping[str, Option]]
    settings: Sequence[Setting] = ()
    program: Program | None = None
    backend_settings: BaseModel | None = None
    limits: Limits | None = None
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def is_for(self, person: Person) -> bool:
        """Whether somebody may choose it."""
        everybody = not self.users and not self.groups
        return everybody or person.is_admin or person.user in self.users or not self.groups.isdisjoint(person.groups)

    async def use(self, person: Person, call: Callable[[Options], T]) -> T:
        """Return what `call` makes of the options for somebody. It may run in a thread.

        Raises
        ------
        InternalError, TooManyRequests
            It returned nonsense, took too long, or is busy.
        """
        program = self.program
        if program is None:
            return call(self.offered(person))

        def ask() -> T:
            try:
                offered = self.offered(person, program.offer(person.user, person.groups))
            except InvalidRequest as error:
                offered = Options((), refusal=error)
            return call(offered)

        return await program.run(person.user, ask)

    def offered(self, person: Person, offer: Offer = NOTHING) -> Options:
        """Return the options for somebody, with those that the program offers besides."""
        options = dict(self.options)
        for group in reversed(list(self.of_groups)):
            if group in person.groups:
                options |= self.of_groups[group]
        hidden = options.keys() & {target for setting in self.settings for target in setting.targets} - {ENVIRONMENT}
        shown = {key: option for key, option in options.items() if key not in hidden}
        shown |= {option.key: option for option in offer.options}
        return Options(shown.values(), hidden=[options[key] for key in hidden], consequences=self._consequences(offer))

    def _consequences(self, offer: Offer) -> Callable[[Mapping[str, OptionValue]], Mapping[str, object]] | None:
        settings, handler = Settings(self.settings), offer.handler
        if handler is None:
            return settings if self.settings else None
        return lambda values: {**settings(values), **handler(dict(values))}


class Profiles:
    """Profiles by key. The first one that somebody may choose is their default."""

    def __init__(self, profiles: Iterable[Profile]) -> None:
        self.replace(profiles)

    def replace(self, profiles: Iterable[Profile]) -> None:
        """Take up the profiles of another policy."""
        self._profiles = {profile.key: profile for profile in profiles}

    def __iter__(self) -> Iterator[Profile]:
        return iter(self._profiles.values())

    def get(self, key: str) -> Profile:
        """Return the profile of a cluster; raise `UnknownProfile` if it has gone."""
        try:
            return self._profiles[key]
        except KeyError:
            raise UnknownProfile(f"there is no profile {key[:80]!r} any more; ask your administrator") from None

    def of(self, person: Person) -> list[Profile]:
        """Return the profiles that somebody may choose."""
        return [profile for profile in self if profile.is_for(person)]

    def choose(self, key: str, person: Person) -> Profile:
        """Return a profile that somebody may choose, their default one for ""; raise `UnknownProfile`."""
        offered = {profile.key: profile for profile in self.of(person)}
        if not offered:
            raise UnknownProfile("no profile is offered to you; ask your administrator")
        if not key:
            return next(iter(offered.values()))
        if key not in offered:
            raise UnknownProfile(f"there is no profile {key[:80]!r}; you may choose {', '.join(offered)}")
        return offered[key]

    def backend_settings(self) -> dict[str, dict[str, BaseModel]]:
        """Return the settings of backends for their profiles, by backend and key."""
        found: dict[str, dict[str, BaseModel]] = {}
        for profile in self:
            if profile.backend_settings is not None:
                found.setdefault(profile.backend, {})[profile.key] = profile.backend_settings
        return found

    def backend_of(self, key: str) -> str | None:
        """Return the backend of a profile's new clusters; None if the profile has gone and there are several."""
        if key in self._profiles:
            return self._profiles[key].backend
        backends = {profile.backend for profile in self}
        return backends.pop() if len(backends) == 1 else None


def build_profiles(
    policy: PolicyFile,
    backend_options: Mapping[str, Sequence[Option]],
    backend_models: Mapping[str, type[BaseModel]] = MappingProxyType({}),
) -> Profiles:
    """Build the profiles of a policy.

    Parameters
    ----------
    backend_options
        Each backend's own options, by its name; the first one is the default.
    backend_models
        Models of what backends have settings of profiles for, by the backend's name.

    Raises
    ------
    UnfitPolicy
        There is no such backend, a setting or an option does not fit, or a function cannot be imported.
    """
    standard = standard_options(cores=policy.worker.cores, memory_bytes=int(policy.worker.memory_bytes))
    profiles: list[Profile] = []
    faults: _Faults = []
    for key, settings in policy.profiles.items():
        backend = settings.backend or next(iter(backend_options))
        if backend not in backend_options:
            there = ", ".join(backend_options)
            faults.append((("profiles", key, "backend"), f"there is no backend {backend!r}; `backends` has {there}"))
            continue
        existing = {option.key: option for option in (*standard, *backend_options[backend])}
        building = _Building(key, settings, backend, existing, backend_models.get(backend))
        profiles.append(building.profile())
        faults += building.faults
    if faults:
        raise UnfitPolicy(faults)
    return Profiles(profiles)


class _Building:
    """Builds a profile from its settings, and collects what is wrong with them."""

    def __init__(
        self,
        key: str,
        settings: ProfileSettings,
        backend: str,
        existing: Mapping[str, Option],
        model: type[BaseModel] | None,
    ) -> None:
        self._key = key
        self._settings = settings
        self._backend = backend
        self._existing = existing
        self._model = model
        self.faults: _Faults = []

    def profile(self) -> Profile:
        settings = self._settings
        options = dict(self._existing)
        for name, own in settings.options.items():
            self._add(options, name, own, None)
        of_groups: dict[str, dict[str, Option]] = {}
        for group, changes in settings.for_groups.items():
            of_groups[group] = {}
            for name in changes:
                own = settings.options.get(name, OptionSettings())
                self._add(of_groups[group], name, own, group)
        limits = settings.limits.limits()
        return Profile(
            key=self._key,
            label=settings.label or self._key,
            description=settings.description,
            backend=self._backend,
            options=options,
            of_groups=of_groups,
            settings=[] if self.faults else self._settings_of([options, *of_groups.values()]),
            program=self._program(),
            backend_settings=self._backend_settings(),
            limits=None if limits == Limits() else limits,
            users=frozenset(settings.users),
            groups=frozenset(settings.groups),
        )

    def _add(self, options: dict[str, Option], name: str, own: OptionSettings, group: str | None) -> None:
        change = own if group is None else merge(own, self._settings.for_groups[group][name])
        path = ("options", name) if group is None else ("for_groups", group, name)
        try:
            if own.type is None:
                if name not in self._existing:
                    raise BadValue(f"backend {self._backend!r} has no such option; to declare one, give its `type`")
                options[name] = narrow(self._existing[name], own, change)
            else:
                if name in self._existing:
                    raise BadValue("there is such an option already; leave out `type` to change it")
                check_new_key(name)
                options[name] = declare(name, own, change)
        except ValueError as error:
            self._fault(path, error)

    def _settings_of(self, variants: Sequence[Mapping[str, Option]]) -> list[Setting]:
        found: list[Setting] = []
        targets: set[str] = set()
        for name, own in self._settings.options.items():
            mine = [options[name] for options in variants if name in options]
            try:
                setting = make_setting(name, own.sets, mine)
                for options in variants:
                    all_ = {**variants[0], **options}
                    check_setting(setting, all_[name], {key: all_[key] for key in self._existing})
            except BadValue as error:
                self._fault(("options", name, "sets"), error)
                continue
            if twice := targets & setting.targets.keys():
                self._fault(("options", name, "sets"), f"sets {min(twice)}, as another option does")
            targets |= setting.targets.keys()
            if setting.targets:
                found.append(setting)
        return found

    def _backend_settings(self) -> BaseModel | None:
        given = self._settings.settings
        if self._model is None:
            if given:
                self._fault(("settings",), f"backend {self._backend!r} has no settings of profiles")
            return None
        try:
            return self._model.model_validate(given)
        except ValidationError as error:
            for path, reason in faults_of(error):
                self._fault(("settings", *path), reason)
            return None

    def _program(self) -> Program | None:
        settings = self._settings
        if not settings.python:
            return None
        try:
            return Program(self._key, settings.python, settings.python_timeout)
        except CannotImport as error:
            self._fault(("python",), error)
            return None

    def _fault(self, path: Path, reason: object) -> None:
        self.faults.append((("profiles", self._key, *path), str(reason)))
