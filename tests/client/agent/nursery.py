"""A small nursery for tests: forks agents as it is told on stdin, and says on stdout how they ended.

Lines in: {"environment": {...}, "log": path, "standby": bool}. Lines out: {"pid": n} and {"pid": n, "code": n}.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from types import FrameType

from headrace.agent import forkserver, process, warm
from headrace.agent.identity import Identity


def main() -> None:
    warm.settle_environment()
    warm.preload()
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="hr-nursery-") as private:
        forkserver.start(Path(private))
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, _ignore)
    children: set[int] = set()
    say({"ready": os.getpid()})
    while True:
        ready, _, _ = select.select([sys.stdin.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 100)
            reap(children)
        if sys.stdin.fileno() in ready:
            line = read_line()
            if not line:
                break
            pid = fork(json.loads(line))
            children.add(pid)
            say({"pid": pid})
    for pid in children:
        os.killpg(pid, signal.SIGKILL)
    while children:
        reap(children)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The signal only wakes."""


def fork(order: dict[str, object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        log = os.open(str(order["log"]), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(Path(str(order["log"])).parent)
        environment = order["environment"]
        assert isinstance(environment, dict)
        os.environ.update({str(k): str(v) for k, v in environment.items()})
        if order.get("standby"):
            warm.standby()
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
            say({"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            break
        line += piece
    return line


def say(message: dict[str, int]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
