"""All processes of one site: started, watched, terminated and forgotten as controllers request."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from headrace.v1.enums import ExitCause
from headrace_backend_local.protocol import Changed, Forgotten, LaunchSpec, Report, Warm
from headrace_backend_local.zygote import adoption
from headrace_backend_local.zygote.agent import Agent
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.exits import OutOfMemory, explain
from headrace_backend_local.zygote.launch_files import LaunchFiles
from headrace_backend_local.zygote.loop import Loop
from headrace_backend_local.zygote.process_record import ProcessRecord
from headrace_backend_local.zygote.spawn import CannotStart, spawn
from headrace_backend_local.zygote.start_queue import StartQueue
from headrace_backend_local.zygote.terminations import Terminations
from headrace_backend_local.zygote.warm_pool import WarmPool
from headrace_chassis import log_limit, tenant_files
from headrace_controller.backends.process import ProcessKey, Role

log = logging.getLogger("headrace.zygote")

Publish = Callable[[Changed | Forgotten | Warm], None]
Then = Callable[[str], None]  # called with the error, "" if there is none


class ProcessTable:
    """All processes of one deployment in one local directory."""

    def __init__(
        self, loop: Loop, site: str, directory: Path, agent: Agent, publish: Publish, *, share_helpers: bool
    ) -> None:
        self._loop = loop
        self._publish = publish
        self._nice = 0
        self._records: dict[str, dict[str, ProcessRecord]] = {}
        self._starts = StartQueue(loop, width=(os.cpu_count() or 1) + 1)
        self._terminations = Terminations(loop, site)
        self._out_of_memory = OutOfMemory()
        self._warm_pool = WarmPool(
            loop,
            agent,
            f"dask standby headrace={site}",
            is_quiet=lambda: self._starts.quiet and self._terminations.quiet,
            on_warm=lambda: publish(Warm()),
            share_helpers=share_helpers,
        )
        for record in adoption.adopt(site, directory):
            self._of_cluster(record.key.cluster)[record.key.process] = record
            if record.log is not None:
                loop.keep(record.log)
            self._watch(record)

    @property
    def reports(self) -> list[Report]:
        """The last report of each process."""
        return [record.report for record in self._all()]

    @property
    def has_children(self) -> bool:
        """Whether a process runs or is about to."""
        return any(record.live for record in self._all())

    @property
    def warm(self) -> bool:
        """Whether the wanted number of processes was in standby once."""
        return self._warm_pool.warm

    def configure(self, standby: int, nice: int) -> None:
        """Sets the number of processes in standby, and what is added to the niceness of those started from now on."""
        self._nice = nice
        self._warm_pool.resize(standby, nice)

    def start(self, specs: Sequence[LaunchSpec], secrets: Sequence[int]) -> None:
        """Starts the processes that do not run already; takes over the descriptors of their secrets."""
        for spec, descriptor in zip(specs, secrets, strict=True):
            of_cluster = self._of_cluster(spec.cluster)
            if (known := of_cluster.get(spec.process)) and known.live:
                self._loop.discard(descriptor)
                continue
            record = of_cluster[spec.process] = ProcessRecord.of(spec, descriptor)
            self._report(record)
            # An earlier process of this name may still be terminating.
            self._terminations.after(record.key, partial(self._queue, record, spec))

    def stop(self, cluster: str | None, processes: Sequence[str] | None, then: Then) -> None:
        """Terminates processes, all of a cluster or of everything by default; calls `then` when they are gone."""
        gone = _Gone(then)
        for record in list(self._all() if cluster is None else self._records.get(cluster, {}).values()):
            if processes is None or record.key.process in processes:
                if record.live:
                    self._stop(record)
                # Also what is left of one that has exited by itself.
                self._terminations.after(record.key, gone.expect(record.key))
        gone.count_down()

    def forget(self, cluster: str) -> str:
        """Discards what is known of a cluster; returns why it cannot, "" if it has."""
        running = [process for process, record in self._records.get(cluster, {}).items() if record.live]
        if running:
            return f"cluster {cluster} still has {len(running)} processes, such as {running[0]}: stop them first"
        self._records.pop(cluster, None)
        self._publish(Forgotten(cluster))
        return ""

    def maintain(self) -> None:
        """Does what is needed every few seconds."""
        self._out_of_memory.refresh()
        for record in self._all():
            if record.log is not None:
                with contextlib.suppress(OSError):
                    log_limit.trim(record.log)
        self._warm_pool.maintain()

    def close(self) -> None:
        """Ends the processes in standby."""
        self._warm_pool.close()

    def _all(self) -> list[ProcessRecord]:
        return [record for of_cluster in self._records.values() for record in of_cluster.values()]

    def _of_cluster(self, cluster: str) -> dict[str, ProcessRecord]:
        return self._records.setdefault(cluster, {})

    def _queue(self, record: ProcessRecord, spec: LaunchSpec, _left: object) -> None:
        if record.live:  # it may have been stopped meanwhile
            self._starts.put(record.key, partial(self._launch, record, spec))

    def _launch(self, record: ProcessRecord, spec: LaunchSpec) -> Child | None:
        try:
            child = self._make(record, spec)
        except CannotStart as failure:
            self._fail(record, failure)
            return None
        finally:
            self._discard_secrets(record)
        child.user = spec.account.uid if spec.account else os.getuid()
        record.set_running(child)
        self._watch(record)
        self._report(record)
        return child

    def _make(self, record: ProcessRecord, spec: LaunchSpec) -> Child:
        if spec.refusal:
            raise CannotStart(spec.refusal, 2)
        assert record.secrets is not None
        try:
            os.close(tenant_files.make_directory(Path(spec.log).parent))
            record.log = self._kept(tenant_files.open_file(Path(spec.log), os.O_WRONLY | os.O_APPEND | os.O_CREAT))
            directory = self._kept(tenant_files.make_directory(Path(spec.directory)))
            try:
                _give(spec, directory, record.log)
                files = LaunchFiles(record.secrets, record.log, directory)
                if spec.warm:
                    return self._warm_pool.fork(spec, files, standby=spec.role is Role.SCHEDULER)
                return spawn(self._loop, spec, files, self._nice)
            finally:
                self._loop.discard(directory)
        except OSError as error:
            raise CannotStart(f"{spec.process} cannot start: {error}", 1) from error

    def _fail(self, record: ProcessRecord, failure: CannotStart) -> None:
        self._close_log(record)
        record.set_exited(failure.code, ExitCause.START_FAILED, str(failure))
        self._report(record)

    def _kept(self, descriptor: int) -> int:
        self._loop.keep(descriptor)
        return descriptor

    def _discard_secrets(self, record: ProcessRecord) -> None:
        if record.secrets is not None:
            self._loop.discard(record.secrets)
            record.secrets = None

    def _close_log(self, record: ProcessRecord) -> None:
        if record.log is not None:
            self._loop.discard(record.log)
            record.log = None

    def _stop(self, record: ProcessRecord) -> None:
        record.stopping = True
        if record.child:
            self._terminations.stop(record.key, record.child)
        else:
            self._starts.remove(record.key)
            self._discard_secrets(record)
            record.set_exited(None, ExitCause.STOPPED, "")
            self._report(record)

    def _watch(self, record: ProcessRecord) -> None:
        assert record.child
        self._loop.watch(record.child.descriptor, partial(self._on_exit, record, record.child))

    def _on_exit(self, record: ProcessRecord, child: Child) -> None:
        self._loop.release(child.descriptor)
        code, failure = child.reap(), self._failure(child)
        cause, message = explain(
            code, stopped=record.stopping, out_of_memory=code == -9 and self._out_of_memory.has_killed()
        )
        if failure and not record.stopping:
            cause, message = ExitCause.START_FAILED, failure
        record.set_exited(code, cause, message)
        self._close_log(record)
        self._terminations.sweep(record.key, child)
        self._report(record)

    def _failure(self, child: Child) -> str:
        """Returns why a process did not execute its command."""
        if child.failure is None:
            return ""
        try:
            return os.read(child.failure, 4 * 1024).decode(errors="replace")
        except BlockingIOError:
            return ""
        finally:
            self._loop.discard(child.failure)

    def _report(self, record: ProcessRecord) -> None:
        self._publish(Changed(record.report))


def _give(spec: LaunchSpec, directory: int, log: int) -> None:
    """Gives the working directory and the log to the account of the process; raises `CannotStart`."""
    own = os.getuid()
    uid, gid = (spec.account.uid, spec.account.gid) if spec.account else (own, os.getgid())
    owner = os.fstat(directory).st_uid
    if owner == own != uid and not os.listdir(directory):
        os.fchown(directory, uid, gid)
    elif owner != uid:
        raise CannotStart(
            f"{spec.process} cannot start: the working directory of its cluster belongs to user id {owner}, not {uid}, "
            "because the setting accounts was changed since: stop the cluster and create another",
            1,
        )
    if uid != own:
        os.fchown(log, uid, gid)


class _Gone:
    """Waits until several processes are gone."""

    def __init__(self, then: Then) -> None:
        self._then = then
        self._expected = 1
        self._left: list[str] = []

    def expect(self, key: ProcessKey) -> Callable[[list[int]], None]:
        """Returns a callback for one of them: it takes the pids that are left."""
        self._expected += 1

        def done(left: list[int]) -> None:
            self._left += [f"{key.process} (pid {pid})" for pid in left]
            self.count_down()

        return done

    def count_down(self) -> None:
        """Counts one thing less to wait for; the first is the request itself."""
        self._expected -= 1
        if not self._expected:
            self._then(f"these do not end even after SIGKILL: {', '.join(self._left)}" if self._left else "")
