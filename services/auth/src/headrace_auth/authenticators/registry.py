"""Finds authenticators, reads their settings and creates them, in the configured order."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import entry_points
from typing import cast

from pydantic import ValidationError

from headrace_auth.authenticators.base import AuthenticatorSettings, Plugin
from headrace_auth.authenticators.realms import Realm, Realms
from headrace_auth.bootstrap_token import BOOTSTRAP, BootstrapToken
from headrace_chassis.roles import Roles

GROUP = "headrace.authenticators"
API_TOKEN = "api-token"  # noqa: S105 the way to log in that needs no authenticator
_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9])?")


def read_settings(raw: object) -> dict[str, AuthenticatorSettings]:
    """Read the setting `authenticators`; raise ValueError that names each wrong field."""
    if not isinstance(raw, Mapping):
        raise ValueError("must be a mapping of names to settings")  # noqa: TRY004 pydantic reports ValueErrors
    read: dict[str, AuthenticatorSettings] = {}
    problems: list[str] = []
    for name, values in cast("Mapping[str, object]", raw).items():
        try:
            read[name] = _read_one(name, values)
        except ValidationError as error:
            problems += [_problem(name, one["loc"], one["msg"]) for one in error.errors(include_url=False)]
        except ValueError as error:
            problems.append(f"{name}: {error}")
    problems += _shared_namespaces(read)
    if problems:
        raise ValueError("; ".join(problems))
    return read


def create_realms(
    settings: Mapping[str, AuthenticatorSettings],
    bootstrap: BootstrapToken | None,
    stack: AsyncExitStack,
    roles: Callable[[], Roles] = Roles,
) -> Realms:
    """Create the authenticators. `roles` returns those of the policy in force."""
    realms = [
        Realm(name, one.label or name, one.prefix, _plugin(one.kind).create(one, stack))
        for name, one in settings.items()
    ]
    return Realms(realms, bootstrap, roles)


def _read_one(name: str, values: object) -> AuthenticatorSettings:
    if isinstance(values, AuthenticatorSettings):
        return values
    if not _NAME.fullmatch(name) or name in {API_TOKEN, BOOTSTRAP}:
        raise ValueError("is no name for an authenticator: use lower-case letters, digits, - and _")
    defaults: dict[str, object] = {"kind": name, "prefix": f"{name}:"}
    if not isinstance(values, Mapping):
        raise ValueError("must be a mapping of settings")  # noqa: TRY004 pydantic reports ValueErrors
    merged = {**defaults, **cast("Mapping[str, object]", values)}
    return _plugin(str(merged["kind"])).Settings.model_validate(merged)


def _plugin(kind: str) -> Plugin:
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if kind not in installed:
        raise ValueError(f"there is no authenticator {kind!r}; installed are {', '.join(sorted(installed))}")
    return cast("Plugin", installed[kind].load())


def _problem(name: str, place: tuple[int | str, ...], message: str) -> str:
    return f"{'.'.join([name, *map(str, place)])}: {message}"


def _shared_namespaces(settings: Mapping[str, AuthenticatorSettings]) -> list[str]:
    by_prefix: defaultdict[str, list[str]] = defaultdict(list)
    for name, one in settings.items():
        by_prefix[one.prefix].append(name)
    return [
        f"{' and '.join(names)} have the same prefix {prefix!r}, so that a user of one could act as the user of "
        "the same name of another: give each its own prefix, or set shared_namespace on all of them"
        for prefix, names in by_prefix.items()
        if len(names) > 1 and not all(settings[name].shared_namespace for name in names)
    ]
