"""How each service is run: the same processes as in production, told by their environment where everything is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace_up import marks
from headrace_up.child import ChildSpec
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.server_certificate import ServerCertificate

SERVICES = ("auth", "controller", "proxy")
# Ctrl-C ends everything within three seconds.
DRAIN_SECONDS = 0.5


@dataclass(frozen=True)
class Files:
    """What the services are given to read."""

    deployment_key: Path
    bootstrap_token: Path
    certificate: ServerCertificate


def base_environment(layout: Layout) -> dict[str, str]:
    """The environment of every child: ours, with the mark of the data directory."""
    return {**os.environ, marks.VARIABLE: str(layout.data)}


def service_specs(layout: Layout, options: UpOptions, port: int, files: Files) -> list[ChildSpec]:
    """Returns how to run auth, controller and proxy."""
    own = {
        "auth": _auth(layout, options, files),
        "controller": _controller(layout, options),
        "proxy": _proxy(layout, port, files),
    }
    return [
        ChildSpec(
            name=name,
            command=[sys.executable, "-P", "-m", f"headrace_{name}", "serve"],
            environment=_environment(name, layout, {**_common(name, layout, files), **own[name]}),
        )
        for name in SERVICES
    ]


def _environment(name: str, layout: Layout, settings: Mapping[str, str]) -> dict[str, str]:
    """Settings that people put into our own environment hold, unless they are about how the parts find each other."""
    prefixed = {f"HEADRACE_{name.upper()}_{key}": value for key, value in settings.items()}
    return {**base_environment(layout), **prefixed}


def _common(name: str, layout: Layout, files: Files) -> dict[str, str]:
    return {
        "LISTEN": layout.target(name),
        "REDIS_URL": f"unix://{layout.socket('valkey')}?db=0",
        "DEPLOYMENT_KEY_FILE": str(files.deployment_key),
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
    }


def _auth(layout: Layout, options: UpOptions, files: Files) -> dict[str, str]:
    settings = {
        "AUTHZ_LISTEN": layout.target("authz"),
        "ROUTE_ADDRESS": layout.target("controller-internal"),
        "BOOTSTRAP_TOKEN_FILE": str(files.bootstrap_token),
        "DEVELOPMENT": str(options.development).lower(),
    }
    if options.users_file:
        settings["USERS_FILE"] = str(options.users_file.absolute())
    return settings


def _controller(layout: Layout, options: UpOptions) -> dict[str, str]:
    settings = {
        "INTERNAL_LISTEN": layout.target("controller-internal"),
        "AUTH_ADDRESS": layout.target("auth"),
        "BACKEND": "local",
        "LOCAL_DIRECTORY": str(layout.local),
        "AGENT_ENDPOINT": layout.target("controller"),
    }
    if options.standby is not None:
        settings["LOCAL_STANDBY"] = str(options.standby)
    return settings


def _proxy(layout: Layout, port: int, files: Files) -> dict[str, str]:
    return {
        "AUTH_ADDRESS": layout.target("auth"),
        "ROUTE_ADDRESS": layout.target("controller-internal"),
        "XDS_LISTEN": layout.target("xds"),
        "STATE_DIRECTORY": str(layout.proxy),
        "PUBLIC_LISTEN": f"127.0.0.1:{port}",
        "PUBLIC_CERTIFICATE_FILE": str(files.certificate.certificate),
        "PUBLIC_KEY_FILE": str(files.certificate.key),
        "AUTH_TARGET": layout.target("auth"),
        "AUTHZ_TARGET": layout.target("authz"),
        "CONTROLLER_TARGET": layout.target("controller"),
        "ENVOY": "embedded",
    }
