"""A small zygote for tests: forks agents on request from stdin, and reports on stdout how they ended.

Lines in: {"environment": {...}, "log": path, "standby": bool}, or {"repair": true} for another fork server. Lines out:
{"pid": n} and {"pid": n, "code": n}.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from types import FrameType

from headrace.agent import forkserver, nanny, process, warm_up
from headrace.agent.identity import Identity

MARK = 1 << 61


def main() -> None:
    set_spawn_environment()
    for _ in warm_up.preload():
        pass
    nanny.__dict__["_TELL_SECONDS"] = 60.0  # a slow machine may take longer than a second
    gc.collect()
    gc.freeze()
    start_fork_server()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, _ignore)
    children: set[int] = set()
    report({"ready": os.getpid()})
    while True:
        ready, _, _ = select.select([sys.stdin.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 100)
            reap(children)
        if sys.stdin.fileno() in ready:
            line = read_line()
            if not line:
                break
            report({"pid": handle(json.loads(line), children)})
    for pid in children:
        os.killpg(pid, signal.SIGKILL)
    while children:
        reap(children)


def start_fork_server() -> int:
    with tempfile.TemporaryDirectory(prefix="hr-zygote-") as private:
        forkserver.start(Path(private))
    return vars(forkserver)["_inherited"].pid


def set_spawn_environment() -> None:
    """Executes this program again with the variables that Dask sets before it starts a worker process.

    Some of them are read at exec only; what forks workers must have been executed with them.
    """
    needed = forkserver.pre_spawn_environment()
    if any(os.environ.get(name) != value for name, value in needed.items()):
        os.environ.update(needed)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def handle(request: dict[str, object], children: set[int]) -> int:
    if "repair" in request:
        return start_fork_server()
    pid = fork(request)
    children.add(pid)
    return pid


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The signal only wakes."""


def fork(request: dict[str, object]) -> int:
    pid = os.fork()
    if pid:
        with contextlib.suppress(OSError):  # it was faster, or has ended
            os.setpgid(pid, pid)
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_RSS, (MARK, resource.getrlimit(resource.RLIMIT_RSS)[1]))
        log = os.open(str(request["log"]), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(Path(str(request["log"])).parent)
        environment = request["environment"]
        assert isinstance(environment, dict)
        os.environ.update({str(k): str(v) for k, v in environment.items()})
        if request.get("standby"):
            warm_up.standby()
        code = process.run(Identity.from_environment(os.environ))
    except BaseException:  # noqa: BLE001 a forked child must not go on in the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def reap(children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        if pid in children:
            children.discard(pid)
            report({"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            break
        line += piece
    return line


def report(message: dict[str, int]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
