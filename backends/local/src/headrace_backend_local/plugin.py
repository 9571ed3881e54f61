"""What the controller loads: the entry ``local`` of the entry point group ``headrace.backends``."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.option_types import Text, TextList
from headrace_backend_local.backend import LocalBackend
from headrace_backend_local.config import Settings
from headrace_controller.backends.base import Backend, Deployment
from headrace_controller.options.catalogue import Option

__all__ = ["Settings", "create", "options"]


def options(settings: Settings) -> Sequence[Option]:  # noqa: ARG001 the seam passes them
    """Returns the options of `OwnOptions`."""
    return (
        Option(
            key="conda_prefix",
            label="Python environment",
            description="Absolute path of a conda or virtual environment to run in. Empty means the server's own.",
            type=Text(max_bytes=4096),
            default="",
        ),
        Option(
            key="start_command",
            label="Start command",
            description="Command that runs a process of the cluster instead of the usual one.",
            type=TextList(),
            default=[],
            per_group=True,
        ),
    )


def create(settings: Settings, deployment: Deployment) -> Backend:
    """Creates the backend; it is opened later."""
    return LocalBackend(settings, deployment)
