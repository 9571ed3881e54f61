"""headrace's services: imported once, then forked."""

from __future__ import annotations

import gc
import importlib
import resource
from typing import TYPE_CHECKING

from headrace_up.environment import auth_environment, controller_environment, proxy_environment
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.process import Part

if TYPE_CHECKING:  # cryptography is imported later
    from headrace_up.credentials import Credentials

SERVICES = ("controller", "auth", "proxy")  # the others wait for the controller
OPEN_FILES = 1 << 16


def load_services() -> None:
    """Import the services, so that everything that is forked afterwards shares them.

    The garbage collector ignores these objects from now on, here and in each child: by looking through them a child
    would copy the memory that they lie in.
    """
    gc.disable()
    for name in SERVICES:
        importlib.import_module(f"headrace_{name}.__main__")
    gc.freeze()
    gc.enable()


def service_parts(layout: Layout, options: UpOptions, port: int, credentials: Credentials) -> list[Part]:
    """Return how to run auth, controller and proxy."""
    environments = {
        "auth": auth_environment(layout, options, credentials),
        "controller": controller_environment(layout, options),
        "proxy": proxy_environment(layout, port, credentials),
    }
    return [Part(name=name, main=lambda name=name: _serve(name), environment=environments[name]) for name in SERVICES]


def bootstrap_part(layout: Layout, port: int, credentials: Credentials) -> Part:
    """Return how to write the files that Envoy is started with."""
    environment = proxy_environment(layout, port, credentials)
    return Part(name="envoy-bootstrap", main=lambda: _run("proxy", "bootstrap"), environment=environment)


def _serve(name: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, OPEN_FILES)), hard))
    _run(name, "serve")


def _run(name: str, subcommand: str) -> None:
    """Run a command of a service, as `python -m headrace_<name> <subcommand>` does."""
    app = importlib.import_module(f"headrace_{name}.__main__").app
    app(args=[subcommand], prog_name=f"headrace-{name}")
