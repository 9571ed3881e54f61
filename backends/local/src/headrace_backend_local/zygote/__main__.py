"""`python -m headrace_backend_local.zygote`: starts the zygote in the background, once."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from headrace_backend_local.protocol import Hello
from headrace_backend_local.zygote import daemon


def main() -> int:
    """Starts the zygote; returns when it, or one that runs already, listens."""
    parser = argparse.ArgumentParser(prog="zygote", description=__doc__)
    parser.add_argument("--deployment", required=True, help="id of the deployment")
    parser.add_argument("--directory", required=True, type=Path, help="local directory of the deployment")
    parser.add_argument("--agent", default="headrace_backend_local.zygote.agent", help="module to fork processes of")
    parser.add_argument("--standby", default=0, type=int, help="number of processes to keep in standby from the start")
    parser.add_argument("--nice", default=0, type=int, help="what is added to the niceness of all processes")
    parser.add_argument("--accounts", action="store_true", help="start processes as other accounts")
    parser.add_argument("--room-for-titles", help="ignored")
    arguments = parser.parse_args()
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.close(read_end)
        hello = Hello(arguments.standby, arguments.nice)
        directory, accounts = arguments.directory.resolve(), arguments.accounts
        daemon.run(arguments.deployment, directory, arguments.agent, hello, write_end, accounts=accounts)
    os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as stream:
        failure = stream.read()
    sys.stderr.write(failure)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
