"""Finds the installed backends and creates those that a deployment names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from headrace.errors import HeadraceError
from headrace_controller.backends.base import Backend, Deployment, Plugin
from headrace_controller.options.catalogue import Option

GROUP = "headrace.backends"


class UnusableBackend(HeadraceError, ValueError):
    """A backend of the settings cannot be created. The message names the setting and what to do."""


@dataclass(frozen=True, slots=True)
class LoadedBackend:
    """A backend, not opened yet, with its own options and the model of its settings of profiles, if it has any."""

    backend: Backend
    options: tuple[Option, ...] = ()
    profile_settings: type[BaseModel] | None = None


def load(
    settings: Mapping[str, Mapping[str, object]],
    deployment: Deployment,
    installed: Iterable[EntryPoint] | None = None,
) -> dict[str, LoadedBackend]:
    """Creates the backends that the settings name; raises `UnusableBackend`.

    Parameters
    ----------
    settings
        Settings of each backend by its name, as they were read: ``backends.<name>`` of the controller's settings.
        Empty means the installed backend with its default settings, if there is only one.
    deployment
        Passed to each backend.
    installed
        Entry points to search. None means those of all installed distributions.
    """
    found = {entry.name: entry for entry in (entry_points(group=GROUP) if installed is None else installed)}
    if not settings and len(found) != 1:
        raise UnusableBackend(f"backends must name a backend; {_names(found)}")
    named = settings or {name: {} for name in found}
    return {name: _create(name, own, deployment, found) for name, own in named.items()}


def options_of(backends: Mapping[str, LoadedBackend]) -> dict[str, Sequence[Option]]:
    """Returns each backend's own options, by its name."""
    return {name: loaded.options for name, loaded in backends.items()}


def profile_models_of(backends: Mapping[str, LoadedBackend]) -> dict[str, type[BaseModel]]:
    """Returns the models of those backends that have settings of profiles, by name."""
    found = {name: loaded.profile_settings for name, loaded in backends.items()}
    return {name: model for name, model in found.items() if model is not None}


def _create(
    name: str, settings: Mapping[str, object], deployment: Deployment, found: Mapping[str, EntryPoint]
) -> LoadedBackend:
    if name not in found:
        raise UnusableBackend(f"backends.{name[:80]} is not installed; {_names(found)}")
    try:
        plugin = cast("Plugin", found[name].load())
    except (ImportError, AttributeError) as error:
        raise UnusableBackend(f"backends.{name} cannot be imported: {error}") from error
    checked = _check(name, plugin, settings)
    profile_settings = cast("type[BaseModel] | None", getattr(plugin, "ProfileSettings", None))
    return LoadedBackend(plugin.create(checked, deployment), tuple(plugin.options(checked)), profile_settings)


def _check(name: str, plugin: Plugin, settings: Mapping[str, object]) -> Any:
    try:
        return plugin.Settings.model_validate(settings)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, ('backends', name, *e['loc'])))}: {e['msg']}" for e in error.errors()]
        raise UnusableBackend("; ".join(wrong)) from error


def _names(found: Mapping[str, EntryPoint]) -> str:
    return f"installed are: {', '.join(sorted(found))}" if found else "no backend is installed"
