"""Starts what the arguments of ``python -m headrace.agent`` ask for."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from headrace.agent import forkserver, process, signals, standby
from headrace.agent.command import CommandFailed, run_command
from headrace.agent.enrollment import NotEnrolled
from headrace.agent.identity import WORKER, Identity, IdentityMissing, remove_token

logger = logging.getLogger("headrace.agent")


def run(arguments: Sequence[str]) -> int:
    """Runs the process of the environment until it ends; returns the exit code."""
    process.log_like_dask()
    signals.reset()
    try:
        if list(arguments) == ["--standby"]:
            return standby.run()
        if not arguments and os.environ.get("HEADRACE_ROLE") == WORKER:
            forkserver.start_own()  # before the token is read: what users' tasks run in is forked from it
        identity = Identity.from_environment(os.environ)
        remove_token(os.environ)
        if arguments:
            return run_command(identity, arguments[1:] if arguments[0] == "--" else arguments, os.environ)
        return process.run(identity)
    except (IdentityMissing, NotEnrolled, CommandFailed) as error:
        logger.error("%s", error)  # noqa: TRY400 the message says everything
        return 1
