"""Makes the local backend from the controller's settings."""

from __future__ import annotations

from headrace_backend_local.backend import LocalBackend
from headrace_controller.backends.base import Backend
from headrace_controller.backends.registry import BackendSettings


def create(settings: BackendSettings) -> Backend:
    """Makes it; it is yet to be opened."""
    return LocalBackend(
        settings.deployment,
        settings.local_directory,
        warm=settings.local_warm,
        standby=settings.local_standby,
    )
