"""Starts the local backend's zygote before the controller asks for it, so that both load at the same time."""

from __future__ import annotations

import os

from headrace_backend_local import zygote_process
from headrace_backend_local.account_rule import AccountRule
from headrace_backend_local.environment import NICE, STANDBY
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.process import Part, command
from headrace_up.process_tags import tagged_environment

_CONTROLLER = "HEADRACE_CONTROLLER_"
_LOCAL = f"{_CONTROLLER}BACKENDS__LOCAL__"


def zygote_part(layout: Layout, options: UpOptions) -> Part | None:
    """Return how to start it with the settings that the controller will have; it ends when the zygote listens.

    None if these settings are not simple: then the controller starts the zygote.
    """
    settings = {name: value for name, value in os.environ.items() if name.startswith((_CONTROLLER, "HEADRACE_CONFIG"))}
    deployment = settings.pop(f"{_CONTROLLER}DEPLOYMENT", "headrace")
    standby = settings.pop(f"{_LOCAL}STANDBY", str(STANDBY))
    nice = settings.pop(f"{_LOCAL}NICE", str(NICE))
    others = any(name.startswith((f"{_CONTROLLER}BACKENDS", "HEADRACE_CONFIG")) for name in settings)
    if others or not (standby.isdecimal() and nice.isdecimal()):
        return None
    arguments = zygote_process.command(
        deployment,
        layout.local,
        standby=int(standby) if options.standby is None else options.standby,
        nice=int(nice),
        accounts=options.accounts is not AccountRule.NONE,
    )
    environment = zygote_process.environment(deployment, layout.local, tagged_environment(layout.data))
    return Part(name="zygote", main=command(arguments), environment=environment)
