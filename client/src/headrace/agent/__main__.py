"""``python -m headrace.agent [--standby | -- COMMAND...]``: runs one process of a cluster in a fresh interpreter."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from headrace.agent import signals, standby
from headrace.agent.command import CommandFailed, run_command
from headrace.agent.enrollment import NotEnrolled
from headrace.agent.identity import Identity, IdentityMissing, remove_token
from headrace.agent.process import log_like_dask, run

logger = logging.getLogger("headrace.agent")


def main(arguments: Sequence[str]) -> int:
    """Runs Dask's own scheduler or worker, or the command after ``--``; returns the exit code.

    With ``--standby`` it waits, with everything imported, until it is given to a cluster.
    """
    log_like_dask()
    signals.reset()
    try:
        if list(arguments) == ["--standby"]:
            return standby.run()
        identity = Identity.from_environment(os.environ)
        remove_token(os.environ)
        if not arguments:
            return run(identity)
        return run_command(identity, arguments[1:] if arguments[0] == "--" else arguments, os.environ)
    except (IdentityMissing, NotEnrolled, CommandFailed) as error:
        logger.error("%s", error)  # noqa: TRY400 the message says everything
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
