"""Finds the processes that an earlier zygote has left running."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from headrace_backend_local import paths, process_tags
from headrace_backend_local.process_tags import ProcessTag
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.process_record import ProcessRecord
from headrace_chassis import procfs, tenant_files
from headrace_controller.backends.process import ProcessKey

_EXEC_SECONDS = 0.01

log = logging.getLogger("headrace.zygote")


def adopt(site: str, directory: Path) -> Iterator[ProcessRecord]:
    """Yields a record for each process of the site; kills what is left of those that have exited."""
    tagged = _tagged(site, directory)
    # One that has made itself a session inherits the tag, but it is not the process that was started.
    leaders = sorted((p.pid == p.session, p.start_ticks, p.pid, tag) for p, tag in tagged if p.pid == p.group)
    adopted: set[ProcessKey] = set()
    for _, _, pid, tag in leaders:
        if tag.key not in adopted and (child := _child(pid, tag)):
            adopted.add(tag.key)
            log.info("adopted %s, pid %s", tag, pid)
            yield ProcessRecord.adopted(tag, child, _log(paths.log_file(directory, tag.key)))
    leftovers = {process.pid: str(tag) for process, tag in tagged if tag.key not in adopted}
    for pid, leftover in {**_marked(site, adopted), **leftovers}.items():
        log.info("killed pid %s, a leftover of %s", pid, leftover)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _tagged(site: str, directory: Path) -> list[tuple[procfs.Process, ProcessTag]]:
    """Returns the processes of the site; reads twice, since during exec(2) a process shows no environment."""
    found: dict[int, tuple[procfs.Process, ProcessTag]] = {}
    for pause in (0.0, _EXEC_SECONDS):
        time.sleep(pause)
        for process in procfs.processes():
            tag = ProcessTag.of(process.pid)
            if tag and tag.site == site and procfs.user(process.pid) == _account(directory, tag.key.cluster):
                found[process.pid] = process, tag
    return list(found.values())


def _account(directory: Path, cluster: str) -> int:
    """Returns the user id of a cluster's processes: other accounts' processes may only claim to be of the cluster."""
    try:
        return paths.work(directory, cluster).lstat().st_uid
    except OSError:
        return os.getuid()


def _marked(site: str, adopted: Iterable[ProcessKey]) -> dict[int, str]:
    """Returns the processes that have a mark of the site, but of none that was adopted."""
    expected = {process_tags.mark(site, key) for key in adopted}
    marks = {process.pid: process_tags.mark_of(process.pid) for process in procfs.processes()}
    return {
        pid: "a process that has none of its tag"
        for pid, mark in marks.items()
        if process_tags.is_mark(mark, site) and mark not in expected
    }


def _log(path: Path) -> int | None:
    try:
        return tenant_files.open_file(path, os.O_WRONLY)
    except OSError as error:
        log.warning("the log of an adopted process has no bound from now on: %s", error)
        return None


def _child(pid: int, tag: ProcessTag) -> Child | None:
    try:
        child = Child(pid, adopted=True)
    except ProcessLookupError:
        return None
    if ProcessTag.of(pid) == tag:
        return child
    os.close(child.descriptor)  # it has exited meanwhile, and the pid may be another process's by now
    return None
