"""Two users' processes run as two accounts: neither reaches the other's, nor what belongs to headrace."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.backends.local.account_users import ATTACK, ROOT, with_readable_python
from tests.backends.local.conftest import Site
from tests.backends.local.opened import WARM, is_alive, opened
from tests.backends.processes import spec, status, text, until_exited, until_written
from tests.conftest import Eventually

from headrace.v1.enums import ExitCause
from headrace_backend_local import paths, zygote_process
from headrace_backend_local.account_rule import AccountRule
from headrace_backend_local.accounts import NoAccount, Pool
from headrace_backend_local.backend import LocalBackend
from headrace_backend_local.process_tags import ProcessTag
from headrace_chassis import procfs
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessState

pytestmark = ROOT

COLD = ("sh", "-c", "echo up; exec sleep 1000")


@dataclass(frozen=True)
class World:
    """A site that other accounts can pass through, and a secret of the administrator beside it."""

    site: Site
    scratch: Path

    @property
    def token(self) -> Path:
        return self.scratch / "token"

    @asynccontextmanager
    async def opened(self, rule: AccountRule, *, standby: int = 0) -> AsyncGenerator[LocalBackend]:
        """Opens a backend whose zygote finds a Python that all accounts can read."""
        command = zygote_process.command(
            self.site.deployment,
            self.site.directory,
            "fake_agent",
            standby=standby,
            accounts=rule is not AccountRule.NONE,
        )
        environment = zygote_process.environment(self.site.deployment, self.site.directory, os.environ)
        readable = with_readable_python(command, self.scratch / "mount")
        await asyncio.to_thread(subprocess.run, readable, env=environment, check=True)
        async with opened(self.site.backend(standby=standby, accounts=rule)) as backend:
            yield backend


@pytest.fixture
def world(make_site: Callable[..., Site]) -> Iterator[World]:
    scratch = Path(tempfile.mkdtemp(prefix="hr-"))
    scratch.chmod(0o711)
    (scratch / "mount").mkdir()
    world = World(make_site(scratch), scratch)
    world.token.touch(mode=0o600)
    yield world
    if world.site.directory.exists():
        zygote_process.shut_down(world.site.directory)
    shutil.rmtree(scratch)


async def attacked(
    backend: LocalBackend, process: str, runs: Sequence[str], files: Sequence[Path], victims: Sequence[int]
) -> str:
    """Has ann's process try everything on files and processes; returns what it wrote."""
    environment = {
        "ASKED_FOR": f"running {ATTACK}",
        "FILES": ":".join(map(str, files)),
        "PIDS": ":".join(map(str, victims)),
    }
    await backend.start([spec("ann", process, runs, environment=environment, owner="ann")])
    await until_written(backend, "ann", "attack is over", process)
    return await text(backend, "ann", process)


@pytest.mark.parametrize("standby", [0, 1])
async def test_a_users_processes_reach_nothing_of_headrace_and_of_another_user(
    world: World, standby: int, eventually: Eventually
) -> None:
    async with world.opened(AccountRule.POOL, standby=standby) as backend:
        await eventually(lambda: len(world.site.standbys()) == standby)
        await backend.start([spec("bob", SCHEDULER, WARM, owner="bob"), spec("bob", "w-1", COLD, owner="bob")])
        await until_written(backend, "bob", "up", SCHEDULER)
        await until_written(backend, "bob", "up", "w-1")
        his = [world.site.process_of("bob", process) for process in (SCHEDULER, "w-1")]
        victims = [world.site.zygote, os.getpid(), *his]
        directory = world.site.directory
        files = [
            world.token,
            *(directory / name for name in ("logs", "manifests", "zygote", "accounts", "work")),
            *(paths.zygote(directory) / name for name in (paths.SOCKET, paths.LOCK, paths.LOG)),
            paths.log_directory(directory, "bob") / "w-1.log",
            paths.work(directory, "bob"),
            paths.work(directory, "bob") / ".w-1.token",
        ]
        await eventually(lambda: len(world.site.standbys()) == standby)
        for process, runs in ((SCHEDULER, WARM), ("w-1", WARM), ("w-2", ("python", "-c", ATTACK))):
            log = await attacked(backend, process, runs, files, victims)
            assert "got:" not in log
            assert log.count("refused:") > 40
            [pid, *_] = world.site.processes_of("ann", process)
            assert procfs.user(pid) not in {0, None, procfs.user(victims[-1])}
        assert all(map(is_alive, victims))
        assert await text(backend, "bob", "w-1") == "up\n"


async def test_the_attack_succeeds_where_all_are_one_account(world: World) -> None:
    async with world.opened(AccountRule.NONE) as backend:
        await backend.start([spec("bob", "w-1", COLD, owner="bob")])
        await until_written(backend, "bob", "up", "w-1")
        files = [world.token, paths.log_directory(world.site.directory, "bob") / "w-1.log"]
        victims = [world.site.zygote, world.site.process_of("bob")]
        log = await attacked(backend, "w-1", WARM, files, victims)
        assert all(f"got: {what}" in log for what in ("read mem of", "write", "remove", "signal", "become root"))


async def test_a_process_has_the_home_the_groups_and_the_files_of_its_account(
    world: World, eventually: Eventually
) -> None:
    show = (
        "import os, pathlib; print('ids', *os.getresuid(), *os.getresgid(), os.getgroups(), oct(os.umask(0)));"
        "print('who', os.environ['HOME'], os.environ['USER'], os.environ['LOGNAME']);"
        "pathlib.Path('made').touch(); pathlib.Path('/proc/self/environ').read_bytes(); open('/dev/stderr', 'a');"
        "print('shown')"
    )
    account = pwd.getpwnam("nobody")
    own = [account.pw_uid] * 3 + [account.pw_gid] * 3
    groups = os.getgrouplist("nobody", account.pw_gid)
    async with world.opened(AccountRule.SAME_NAME, standby=1) as backend:
        await eventually(lambda: len(world.site.standbys()) == 1)
        for process, runs in ((SCHEDULER, WARM), ("w-1", WARM), ("w-2", ["python", "-c", show])):
            environment = {"ASKED_FOR": f"running {show}"}
            await backend.start([spec("c1", process, runs, environment=environment, owner="nobody")])
            await until_written(backend, "c1", "shown", process)
            log = await text(backend, "c1", process)
            assert f"ids {' '.join(map(str, own))} {groups} 0o22" in log
            assert f"who {account.pw_dir} nobody nobody" in log
        found = [paths.work(world.site.directory, "c1"), *paths.log_directory(world.site.directory, "c1").iterdir()]
        assert [(f.stat().st_uid, stat.S_IMODE(f.stat().st_mode) & 0o077) for f in found] == [(account.pw_uid, 0)] * 4
        await backend.stop("c1")
        await backend.forget("c1")
        assert not any(f.exists() for f in found)


@pytest.mark.parametrize(
    ("owner", "reason"),
    [
        ("nobody-of-that-name", "has no account 'nobody-of-that-name'"),
        ("root", "account 'root' has user id 0, and clusters run as 1000 or higher only"),
        ("0", "has no account '0'"),
    ],
)
async def test_a_user_without_an_account_gets_no_process_and_reads_why(world: World, owner: str, reason: str) -> None:
    async with world.opened(AccountRule.SAME_NAME) as backend:
        await backend.start([spec("c1", SCHEDULER, WARM, owner=owner), spec("c2", "w-1", COLD, owner=owner)])
        for cluster, process in (("c1", SCHEDULER), ("c2", "w-1")):
            seen = await until_exited(backend, cluster, process)
            assert seen.exit_cause is ExitCause.START_FAILED
            assert reason in seen.message


def _asleep(site: Site, cluster: str) -> set[int]:
    """Pids of a cluster's that have become `sleep`: one that is being executed has no environment for a moment."""
    return set(site.titled(b"sleep")) & set(site.processes_of(cluster))


async def test_another_users_process_that_claims_to_be_of_a_cluster_is_neither_adopted_nor_waited_for(
    world: World, eventually: Eventually
) -> None:
    async with world.opened(AccountRule.POOL) as backend:
        await backend.start([spec("bob", SCHEDULER, COLD, owner="bob")])
        await eventually(lambda: _asleep(world.site, "bob"))
        [real] = _asleep(world.site, "bob")
        tag = ProcessTag.of(real)
        limit = procfs.soft_limit(real, b"Max resident set")
        impostor = (
            f"(ulimit -Sm $(({limit} / 1024)); export HEADRACE_PROCESS_TAG='{tag}'; echo up; exec setsid sleep 1000) &"
            "while :; do sleep 1; done"
        )
        await backend.start([spec("ann", "w-1", ["bash", "-c", impostor], owner="ann")])
        await until_written(backend, "ann", "up", "w-1")
        await eventually(lambda: len(_asleep(world.site, "bob")) > 1)
        [pretends] = _asleep(world.site, "bob") - {real}
        await backend.stop("bob")
        assert is_alive(pretends)
        os.kill(world.site.zygote, signal.SIGKILL)
        await eventually(lambda: not is_alive(real))
    async with world.opened(AccountRule.POOL) as backend:
        assert [seen.key.cluster for seen in await backend.observe()] == ["ann"]
        assert await status(backend, "ann", "w-1")
        await backend.stop("ann")
    if is_alive(pretends):
        os.kill(pretends, signal.SIGKILL)


async def test_a_cluster_that_runs_as_headrace_itself_goes_on_so_but_gets_no_process_of_another_account(
    world: World,
) -> None:
    async with world.opened(AccountRule.NONE) as backend:
        await backend.start([spec("c1", SCHEDULER, COLD)])
        await until_written(backend, "c1", "up")
        before = world.site.zygote
    os.kill(before, signal.SIGKILL)
    async with world.opened(AccountRule.POOL) as backend:
        assert (await status(backend, "c1")).state is ProcessState.RUNNING
        (paths.work(world.site.directory, "c1") / "made").touch()
        await backend.start([spec("c1", "w-1", COLD)])
        seen = await until_exited(backend, "c1", "w-1")
        assert "because the setting accounts was changed since" in seen.message
        await backend.stop("c1")


def test_ids_of_a_pool_are_kept_and_differ(tmp_path: Path) -> None:
    ids = range(70_000, 70_002)
    first = Pool(tmp_path, ids)
    assert [first.of(user, tmp_path).uid for user in ("ann", "bob", "ann")] == [70_000, 70_001, 70_000]
    assert Pool(tmp_path, ids).of("bob", tmp_path).uid == 70_001
    with pytest.raises(NoAccount, match="no user id left for eve"):
        first.of("eve", tmp_path)


def test_what_keeps_processes_from_other_accounts_is_said_at_the_start(world: World) -> None:
    closed = world.scratch / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(BackendError, match=f"other accounts cannot reach .*because {closed} is closed"):
        zygote_process.launch(world.site.deployment, closed / "local", accounts=True)
