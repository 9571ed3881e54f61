"""What the controller loads: the entry ``kubernetes`` of the entry point group ``headrace.backends``."""

from __future__ import annotations

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.options import options
from headrace_backend_kubernetes.profile_settings import ProfileSettings
from headrace_controller.backends.base import Backend, Deployment

__all__ = ["ProfileSettings", "Settings", "create", "options"]


def create(settings: Settings, deployment: Deployment) -> Backend:
    """Creates the backend; it is opened later."""
    return KubernetesBackend(settings, deployment)
