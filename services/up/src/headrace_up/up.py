"""`headrace up`: runs the system in the foreground until it is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from headrace_backend_local.account_rule import AccountRule
from headrace_up.claim import claimed
from headrace_up.console import Console
from headrace_up.errors import CannotRun, GaveUp
from headrace_up.layout import Layout, make_layout
from headrace_up.options import UpOptions
from headrace_up.system import Parts, System

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESTART_ENVOY_SIGNAL = signal.SIGUSR2
KILLED_EXIT_CODE = 130


def up(options: UpOptions, version: str, parts: Parts | None = None) -> int:
    """Run until Ctrl-C or SIGTERM; return the exit code."""
    console = Console(quiet=options.quiet)
    try:
        _check(options)
        layout = make_layout(options.data, reachable=options.accounts is not AccountRule.NONE)
        _check_accounts(options, layout)
        with claimed(layout, version):
            console.info(f"headrace {version}, data in {layout.data}")
            asyncio.run(_run(System(options, layout, console, version, parts or Parts()), console))
    except (CannotRun, GaveUp) as error:
        print(f"headrace up: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # such as a full disk
        print(f"headrace up: headrace cannot be started: {error}", file=sys.stderr)
        return 1
    return 0


def _check(options: UpOptions) -> None:
    if options.users_file and not options.users_file.is_file():
        raise CannotRun(f"there is no users file {options.users_file}: give its path with --users-file")
    if options.policy is not None:
        _check_policy(options.policy)
    separated = options.accounts is not AccountRule.NONE
    if options.users_file and not (separated or options.one_account or options.development):
        raise CannotRun(
            "clusters of all users would run as your operating-system account: the code of each can read and change "
            "all that you can, headrace's keys included. Separate them with --accounts, as root; accept it with "
            "--one-account; or start without --users-file"
        )
    if separated and options.one_account:
        raise CannotRun("--accounts and --one-account exclude each other: leave one of them out")
    if options.accounts is AccountRule.SAME_NAME and options.development:
        raise CannotRun(
            "with --development anyone logs in under any name, and with --accounts same-name would run code as any "
            "account: use --accounts pool, or leave --development out"
        )


def _check_policy(file: Path) -> None:
    """Raises CannotRun for a policy file that no controller would start with."""
    from headrace_controller.policy.current import BadPolicyFile, read_file  # the others start without it

    try:
        read_file(file)
    except BadPolicyFile as error:
        raise CannotRun(str(error)) from None


def _check_accounts(options: UpOptions, layout: Layout) -> None:
    """Raises CannotRun if processes cannot run as other accounts here; sees that what they create is closed."""
    if options.accounts is AccountRule.NONE:
        return
    from headrace_backend_local.zygote.account import obstacle

    if reason := obstacle(layout.local.parent, Path(sys.prefix), Path(sys.base_prefix)):
        raise CannotRun(f"--accounts {options.accounts}: {reason}")
    os.umask(0o077)


async def _run(system: System, console: Console) -> None:
    stop_requested = asyncio.Event()
    with _signals(stop_requested, system.kill, system.envoy_restart_requested.set):
        running = asyncio.create_task(system.run())
        stopping = asyncio.create_task(stop_requested.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop_requested.is_set():
                console.info("\nStopping; a second Ctrl-C kills at once.")
        finally:
            running.cancel()
            stopping.cancel()
            ends = await asyncio.gather(running, return_exceptions=True)
            await system.stop(requested=stop_requested.is_set())
        for end in ends:
            if isinstance(end, Exception):
                raise end
    console.info("Stopped.")


@contextmanager
def _signals(
    stop_requested: asyncio.Event, kill: Callable[[], None], restart_envoy: Callable[[], None]
) -> Generator[None]:
    """The first signal to stop requests it; the second one kills."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop_requested.is_set():
            kill()
            os._exit(KILLED_EXIT_CODE)
        stop_requested.set()

    # nohup ignores SIGHUP for us: a closed terminal must not stop headrace then.
    handled = [
        number for number in STOP_SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]
    for number in handled:
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(RESTART_ENVOY_SIGNAL, restart_envoy)
    try:
        yield
    finally:
        for number in (*handled, RESTART_ENVOY_SIGNAL):
            loop.remove_signal_handler(number)
