"""Environment variables of the parts. Services get their settings by them, as in production."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from headrace_backend_local.account_rule import AccountRule
from headrace_up.envoy import connections_allowed
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.process_tags import tagged_environment

if TYPE_CHECKING:  # cryptography is imported later
    from headrace_up.credentials import Credentials

# Ctrl-C ends everything within three seconds.
DRAIN_SECONDS = 0.5
_ALSO = ("HEADRACE_CONFIG", "GRPC_VERBOSITY", "GRPC_TRACE")
# The local backend's processes listen on this machine.
ALLOWED_DESTINATIONS = json.dumps([{"network": "127.0.0.0/8"}])


def auth_environment(layout: Layout, options: UpOptions, credentials: Credentials) -> dict[str, str]:
    settings = {
        "INTERNAL_LISTEN": layout.target("auth-internal"),
        "ROUTE_ADDRESS": layout.target("controller-internal"),
        "BOOTSTRAP_TOKEN_FILE": str(credentials.token.file),
        "ALLOWED_DESTINATIONS": ALLOWED_DESTINATIONS,
    }
    if authenticators := _authenticators(options):
        settings["AUTHENTICATORS"] = json.dumps(authenticators)
    if options.policy is not None:
        settings["POLICY_FILE"] = str(options.policy.absolute())
    return _environment("auth", layout, settings)


def _authenticators(options: UpOptions) -> dict[str, object]:
    """Return who may log in besides the token. On one machine a name is the same person everywhere."""
    plain = {"prefix": "", "shared_namespace": True}
    found: dict[str, object] = {}
    if options.users_file:
        found["password"] = {**plain, "users_file": str(options.users_file.absolute())}
    if options.development:
        found["development"] = plain
    return found


def controller_environment(layout: Layout, options: UpOptions) -> dict[str, str]:
    settings = {
        "INTERNAL_LISTEN": layout.target("controller-internal"),
        "AUTH_ADDRESS": layout.target("auth"),
        "AGENT_ENDPOINT": layout.target("controller"),
        "BACKENDS__LOCAL__DIRECTORY": str(layout.local),
    }
    if options.accounts is not AccountRule.NONE:
        settings |= {"LISTEN_TO_ALL_ACCOUNTS": "true", "BACKENDS__LOCAL__ACCOUNTS": options.accounts}
    if options.policy is not None:
        settings["POLICY_FILE"] = str(options.policy.absolute())
    if options.standby is not None:
        settings["BACKENDS__LOCAL__STANDBY"] = str(options.standby)
    return _environment("controller", layout, settings)


def proxy_environment(layout: Layout, port: int, credentials: Credentials) -> dict[str, str]:
    settings = {
        "AUTH_ADDRESS": layout.target("auth"),
        "ROUTE_ADDRESS": layout.target("controller-internal"),
        "XDS_LISTEN": layout.target("xds"),
        "STATE_DIRECTORY": str(layout.proxy),
        "PUBLIC_LISTEN": f"127.0.0.1:{port}",
        "PUBLIC_CERTIFICATE_FILE": str(credentials.certificate.certificate),
        "PUBLIC_KEY_FILE": str(credentials.certificate.key),
        "AUTH_TARGET": layout.target("auth"),
        "AUTHZ_TARGET": layout.target("auth-internal"),
        "CONTROLLER_TARGET": layout.target("controller"),
        "ALLOWED_DESTINATIONS": ALLOWED_DESTINATIONS,
    }
    if (allowed := connections_allowed()) is not None:
        settings["MAX_CONNECTIONS"] = _at_most(allowed, os.environ.get("HEADRACE_PROXY_MAX_CONNECTIONS", "50000"))
    return _environment("proxy", layout, settings)


def _environment(service: str, layout: Layout, own: Mapping[str, str]) -> dict[str, str]:
    """Return what the service inherits, and its own settings: no other variable of this process.

    Settings in the environment of this process hold, except those by which the parts find each other.
    """
    prefix = f"HEADRACE_{service.upper()}_"
    settings = {
        "LISTEN": layout.target(service),
        "REDIS_URL": f"unix://{layout.socket('valkey')}?db=0",
        "DEPLOYMENT_KEY_FILE": str(layout.secrets / "deployment.key"),
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
        **own,
    }
    return {
        **tagged_environment(layout.data),
        **{name: value for name, value in os.environ.items() if name.startswith((prefix, "OTEL_")) or name in _ALSO},
        **{f"{prefix}{key}": each for key, each in settings.items()},
    }


def _at_most(limit: int, text: str) -> str:
    # A text that is not a number stays: the proxy explains what is wrong with it.
    return str(min(limit, int(text))) if text.isascii() and text.isdigit() else text
