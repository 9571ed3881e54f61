"""`headrace up` with fake services, for the tests: real supervisor, real Valkey, real files."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from headrace_up.child import ChildSpec
from headrace_up.layout import Layout
from headrace_up.options import UpOptions
from headrace_up.services import SERVICES, Files, base_environment
from headrace_up.up import up

FAKE = str(Path(__file__).with_name("fake_service.py"))


def fakes(layout: Layout, options: UpOptions, port: int, files: Files) -> Sequence[ChildSpec]:
    """Only the proxy behaves as the test wants."""
    behaviours = dict.fromkeys(SERVICES, "ready") | {"proxy": os.environ["FAKE_BEHAVIOUR"]}
    return [
        ChildSpec(name=name, command=[sys.executable, "-S", FAKE, behaviour], environment=base_environment(layout))
        for name, behaviour in behaviours.items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--keep-clusters", action="store_true")
    parser.add_argument("--version", default="0.1.0")
    arguments = parser.parse_args()
    options = UpOptions(data=arguments.data_dir, port=arguments.port, keep_clusters=arguments.keep_clusters)
    return up(options, arguments.version, fakes)


sys.exit(main())
