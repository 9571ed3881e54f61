"""Finds the processes that a nursery before this one has left running."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from headrace_backend_local import places
from headrace_backend_local.marks import Mark
from headrace_backend_local.zygote import procfs
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.record import Record
from headrace_controller.backends.base import ProcessKey

_EXEC_SECONDS = 0.01

log = logging.getLogger("headrace.nursery")


def adopt(site: str, directory: Path) -> Iterator[Record]:
    """Yields a record for each process of the site; kills what belongs to one that is gone."""
    marked = _marked(site)
    # One that has made itself a session inherits the mark, but it is not what was started.
    leaders = sorted((p.pid == p.session, p.start_ticks, p.pid, mark) for p, mark in marked if p.pid == p.group)
    adopted: set[ProcessKey] = set()
    for _, _, pid, mark in leaders:
        if mark.key not in adopted and (child := _child(pid, mark)):
            adopted.add(mark.key)
            log.info("found %s running, pid %s", mark, pid)
            yield Record.adopted(mark, child, str(places.log_file(directory, mark.key)))
    for process, mark in marked:
        if mark.key not in adopted:
            log.info("pid %s is left of %s: killed", process.pid, mark)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _marked(site: str) -> list[tuple[procfs.Process, Mark]]:
    """Returns the processes of the site; looks twice, since for a moment of exec(2) a process shows no environment."""
    found: dict[int, tuple[procfs.Process, Mark]] = {}
    for pause in (0.0, _EXEC_SECONDS):
        time.sleep(pause)
        for process in procfs.processes():
            if (mark := procfs.mark(process.pid)) and mark.site == site:
                found[process.pid] = process, mark
    return list(found.values())


def _child(pid: int, mark: Mark) -> Child | None:
    try:
        child = Child(pid, adopted=True)
    except ProcessLookupError:
        return None
    if procfs.mark(pid) == mark:
        return child
    os.close(child.descriptor)  # it has ended meanwhile, and the number means another by now
    return None
