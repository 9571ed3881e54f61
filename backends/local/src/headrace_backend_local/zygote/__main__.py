"""`python -m headrace_backend_local.zygote`: starts the nursery in the background, once."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from headrace_backend_local.zygote import daemon


def main() -> int:
    """Starts the nursery; returns when it listens, or another does already."""
    parser = argparse.ArgumentParser(prog="nursery", description=__doc__)
    parser.add_argument("--deployment", required=True, help="id of the deployment")
    parser.add_argument("--directory", required=True, type=Path, help="local directory of the deployment")
    parser.add_argument("--agent", default="headrace_backend_local.zygote.agent", help="module to run")
    parser.add_argument("--room-for-titles", help="ignored")
    arguments = parser.parse_args()
    told, tell = os.pipe()
    if os.fork() == 0:
        os.close(told)
        daemon.run(arguments.deployment, arguments.directory.resolve(), arguments.agent, tell)
    os.close(tell)
    with os.fdopen(told, encoding="utf-8") as stream:
        failure = stream.read()
    sys.stderr.write(failure)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
