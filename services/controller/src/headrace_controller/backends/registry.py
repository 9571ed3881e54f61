"""The backends by name. A new one is a new line here and new files beside it, loaded only where it is used."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from headrace_controller.backends.base import Backend

FACTORIES = {"local": "headrace_backend_local.factory"}


class BackendSettings(Protocol):
    """What backends take of the controller's settings."""

    @property
    def backend(self) -> str: ...
    @property
    def deployment(self) -> str: ...
    @property
    def local_directory(self) -> Path: ...
    @property
    def local_warm(self) -> bool: ...
    @property
    def local_standby(self) -> int: ...


class _Factory(Protocol):
    def create(self, settings: BackendSettings) -> Backend: ...


def create_backend(settings: BackendSettings) -> Backend:
    """Makes the backend that the settings name; it is yet to be opened."""
    try:
        module = FACTORIES[settings.backend]
    except KeyError:
        raise ValueError(
            f"there is no backend {settings.backend!r}: the setting `backend` is one of {', '.join(sorted(FACTORIES))}"
        ) from None
    return cast("_Factory", import_module(module)).create(settings)
