"""``python -m headrace.agent [-- COMMAND...]``: a process of a cluster, as plain starts run it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from headrace.agent.command import CommandFailed, run_command
from headrace.agent.enroll import NotEnrolled
from headrace.agent.identity import Identity, IdentityMissing, forget_token
from headrace.agent.process import log_like_dask, run

logger = logging.getLogger("headrace.agent")


def main(arguments: Sequence[str]) -> int:
    """Runs Dask's own scheduler or worker, or the command after ``--``; returns the exit code."""
    log_like_dask()
    try:
        identity = Identity.from_environment(os.environ)
        forget_token(os.environ)
        if not arguments:
            return run(identity)
        return run_command(identity, arguments[1:] if arguments[0] == "--" else arguments, os.environ)
    except (IdentityMissing, NotEnrolled, CommandFailed) as error:
        logger.error("%s", error)  # noqa: TRY400 the sentence says it all
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
