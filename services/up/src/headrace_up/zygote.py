"""Starts the local backend's zygote before the controller needs it, so that both load at the same time."""

from __future__ import annotations

import os

from headrace_up.environment import controller_environment
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.process import Part

_PREFIX = "HEADRACE_CONTROLLER_"


def zygote_part(layout: Layout, options: UpOptions) -> Part | None:
    """Return how to start it.

    None if the controller may have other settings than the environment says: then the controller starts the zygote.
    """
    environment = controller_environment(layout, options)
    if environment.get("HEADRACE_CONFIG") or f"{_PREFIX}BACKENDS" in environment:
        return None
    return Part(name="zygote", main=lambda: _launch(layout), environment=environment)


def _launch(layout: Layout) -> None:
    from headrace_backend_local.config import Settings
    from headrace_backend_local.zygote_process import launch

    prefix = f"{_PREFIX}BACKENDS__LOCAL__"
    given = {name.removeprefix(prefix).lower(): value for name, value in os.environ.items() if name.startswith(prefix)}
    settings = Settings.model_validate(given)
    if settings.warm:
        deployment = os.environ.get(f"{_PREFIX}DEPLOYMENT", "headrace")
        launch(deployment, layout.local, standby=settings.standby, nice=settings.nice)
