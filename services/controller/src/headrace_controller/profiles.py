"""Profiles: the kinds of clusters that an administrator offers. Each has a backend, options and limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.option_types import BadValue, Bytes, Choice, Float, Int, OptionType, Select
from headrace_controller.model import Limits
from headrace_controller.options.catalogue import Option, Options
from headrace_controller.options.standard import standard_options
from headrace_controller.policy.file import PolicyFile, UnfitPolicy
from headrace_controller.policy.offers import OptionSettings, ProfileSettings


class UnknownProfile(LookupError):
    """The policy has no such profile. A cluster may outlive its profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of cluster. `limits` are those of all its clusters together; None means none."""

    key: str
    label: str
    description: str
    backend: str
    options: Options
    limits: Limits | None = None


class Profiles:
    """Profiles by key. The first one is the default."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self.replace(profiles)

    def replace(self, profiles: Iterable[Profile]) -> None:
        """Take up the profiles of another policy."""
        profiles = list(profiles)
        self._profiles = {profile.key: profile for profile in profiles}
        self._default = profiles[0]

    def __iter__(self) -> Iterator[Profile]:
        return iter(self._profiles.values())

    def get(self, key: str) -> Profile:
        """Return a profile, the default one for ""; raise `UnknownProfile` if there is none."""
        if not key:
            return self._default
        try:
            return self._profiles[key]
        except KeyError:
            there = ", ".join(self._profiles)
            raise UnknownProfile(f"there is no profile {key[:80]!r}; this deployment has {there}") from None

    def backend_of(self, key: str) -> str | None:
        """Return the backend of a profile's clusters; None if the profile has gone and there are several backends."""
        if key in self._profiles:
            return self._profiles[key].backend
        backends = {profile.backend for profile in self}
        return backends.pop() if len(backends) == 1 else None


def build_profiles(policy: PolicyFile, backend_options: Mapping[str, Sequence[Option]]) -> Profiles:
    """Build the profiles of a policy.

    Parameters
    ----------
    backend_options
        Each backend's own options, by its name; the first one is the default.

    Raises
    ------
    UnfitPolicy
        There is no such backend, or a profile changes an option in a way that does not fit it.
    """
    standard = standard_options(cores=policy.worker.cores, memory_bytes=int(policy.worker.memory_bytes))
    profiles: list[Profile] = []
    faults: list[tuple[tuple[str, ...], str]] = []
    for key, profile in policy.profiles.items():
        backend = profile.backend or next(iter(backend_options))
        if backend not in backend_options:
            there = ", ".join(backend_options)
            faults.append((("profiles", key, "backend"), f"there is no backend {backend!r}; `backends` has {there}"))
            continue
        options = {option.key: option for option in (*standard, *backend_options[backend])}
        try:
            profiles.append(_profile(key, profile, backend, options))
        except UnfitPolicy as error:
            faults += error.faults
    if faults:
        raise UnfitPolicy(faults)
    return Profiles(profiles)


def _profile(key: str, settings: ProfileSettings, backend: str, options: Mapping[str, Option]) -> Profile:
    changed = dict(options)
    faults: list[tuple[tuple[str, ...], str]] = []
    for name, change in settings.options.items():
        path = ("profiles", key, "options", name)
        if name not in options:
            faults.append((path, f"backend {backend!r} has no such option"))
            continue
        try:
            changed[name] = _changed(options[name], change)
        except BadValue as error:
            faults.append((path, str(error)))
    if faults:
        raise UnfitPolicy(faults)
    limits = settings.limits.limits()
    return Profile(
        key=key,
        label=settings.label or key,
        description=settings.description,
        backend=backend,
        options=Options(changed.values()),
        limits=None if limits == Limits() else limits,
    )


def _changed(option: Option, change: OptionSettings) -> Option:
    type_ = _narrowed(option.type, change)
    try:
        default = type_.check(option.default if change.default is None else option.type.check(change.default))
    except BadValue as error:
        raise BadValue(f"the default {error}; set `default`") from error
    return replace(option, type=type_, default=default)


def _narrowed(type_: OptionType, change: OptionSettings) -> OptionType:
    if change.choices is not None:
        given = change.choices
        choices = given if isinstance(given, dict) else {str(value): value for value in given}
        return Select(tuple(Choice(type_.check(value), label) for label, value in choices.items()))
    bounds = {"minimum": change.minimum, "maximum": change.maximum}
    set_ = {name: bound for name, bound in bounds.items() if bound is not None}
    if not set_:
        return type_
    if not isinstance(type_, Int | Float | Bytes):
        raise BadValue("has no minimum and no maximum, because it is not a number")
    return replace(type_, **{name: type_.check(bound) for name, bound in set_.items()})
