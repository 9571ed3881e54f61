"""`headrace up` with fake services and a fake Envoy, for the tests: real supervisor, real Valkey, real files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headrace_backend_local.account_rule import AccountRule
from headrace_up import system
from headrace_up.credentials import Credentials
from headrace_up.envoy import bootstrap_file
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.process import Part, command
from headrace_up.process_tags import tagged_environment
from headrace_up.services import SERVICES
from headrace_up.system import Parts
from headrace_up.up import up

FAKE = str(Path(__file__).with_name("fake_service.py"))
BEHAVIOUR = os.environ["FAKE_BEHAVIOUR"]


def fake(layout: Layout, name: str, behaviour: str = "ready") -> Part:
    main = command([sys.executable, "-S", FAKE, behaviour])
    return Part(name=name, main=main, environment=tagged_environment(layout.data))


def services(layout: Layout, options: UpOptions, port: int, credentials: Credentials) -> Sequence[Part]:
    """Only the proxy behaves as the test wants."""
    behaviours = dict.fromkeys(SERVICES, "ready") | {"proxy": BEHAVIOUR}
    return [fake(layout, name, behaviour) for name, behaviour in behaviours.items()]


def bootstrap(layout: Layout, port: int, credentials: Credentials) -> Part:
    file = bootstrap_file(layout)

    def main() -> None:
        if BEHAVIOUR == "no-bootstrap" or (BEHAVIOUR == "bootstrap-once" and file.exists()):
            file.write_text("half of it")
            print("headrace proxy: the certificate is wrong", file=sys.stderr)
            sys.exit(1)
        file.write_text("a bootstrap")

    return Part(name="envoy-bootstrap", main=main, environment=tagged_environment(layout.data))


def envoy(layout: Layout, port: int) -> Part:
    async def probe() -> None:
        """It is ready at once."""

    def successor(number: int) -> Part:
        return replace(fake(layout, "envoy"), probe=probe)

    return replace(fake(layout, "envoy"), successor=successor)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--keep-clusters", action="store_true")
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--users-file", type=Path)
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--one-account", action="store_true")
    parser.add_argument("--accounts", type=AccountRule, default=AccountRule.NONE)
    parser.add_argument("--service-seconds", type=float, default=system.SERVICE_SECONDS)
    arguments = parser.parse_args()
    system.SERVICE_SECONDS = arguments.service_seconds
    data = Path(os.environ["HEADRACE_DATA_DIR"])
    options = UpOptions(
        data=data,
        port=arguments.port,
        keep_clusters=arguments.keep_clusters,
        users_file=arguments.users_file,
        development=arguments.development,
        one_account=arguments.one_account,
        accounts=arguments.accounts,
    )
    parts = Parts(
        zygote=lambda layout, options: None,
        load=lambda: None,
        services=services,
        bootstrap=bootstrap,
        envoy=envoy,
        envoy_check=lambda layout: Part(name="envoy-check", main=lambda: None),
    )
    return up(options, arguments.version, parts)


sys.exit(main())
