"""Finds the processes that a nursery before this one has left running."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from headrace_controller.backends.base import ProcessKey
from headrace_controller.backends.local import places
from headrace_controller.backends.local.marks import Mark
from headrace_controller.backends.local.nursery import procfs
from headrace_controller.backends.local.nursery.child import Child
from headrace_controller.backends.local.nursery.record import Record

log = logging.getLogger("headrace.nursery")


def adopt(site: str, directory: Path) -> Iterator[Record]:
    """Yields a record for each process of the site; kills what belongs to one that is gone."""
    marked = [(p, mark) for p in procfs.processes() if (mark := procfs.mark(p.pid)) and mark.site == site]
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


def _child(pid: int, mark: Mark) -> Child | None:
    try:
        child = Child(pid, adopted=True)
    except ProcessLookupError:
        return None
    if procfs.mark(pid) == mark:
        return child
    os.close(child.descriptor)  # it has ended meanwhile, and the number means another by now
    return None
