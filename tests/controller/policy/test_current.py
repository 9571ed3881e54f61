"""The policy in force follows its file: whole, checked, and by itself in each replica."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from headrace_controller.policy import current as in_force
from headrace_controller.policy import modules
from headrace_controller.policy.current import BadPolicyFile, CurrentPolicy
from headrace_controller.policy.file import PolicyFile, UnfitPolicy

TWO = "limits: {user: {clusters: 2}}"
THREE = "limits: {user: {clusters: 3}}"


def check(policy: PolicyFile) -> None:
    if "absent" in policy.profiles:
        raise UnfitPolicy([(("profiles", "absent"), "there is no such backend")])


def clusters(current: CurrentPolicy[None]) -> int | None:
    return current.policy.limits.user.clusters


def refused() -> float | None:
    return REGISTRY.get_sample_value("headrace_controller_policy_refused")


def write(file: Path, text: str, encoding: str = "utf-8") -> None:
    file.write_text(text, encoding)


def delete(file: Path) -> None:
    file.unlink()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(TWO)
    return file


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def current(file: Path, clock: Clock) -> CurrentPolicy[None]:
    return CurrentPolicy(file, PolicyFile(), check, clock=clock)


async def test_a_change_is_taken_up_and_told_to_who_listens(
    current: CurrentPolicy[None], file: Path, clock: Clock
) -> None:
    heard: list[PolicyFile] = []
    current.on_change(heard.append)
    await current.refresh()
    assert (clusters(current), current.since, heard) == (2, 100, [])
    write(file, THREE)
    clock.now = 200
    await current.refresh()
    assert (clusters(current), current.since, heard) == (3, 200, [current.policy])
    write(file, THREE + "  # as before")
    clock.now = 300
    await current.refresh()
    assert (current.since, len(heard)) == (200, 1)


@pytest.mark.parametrize("half", ["", "limits: {user: {}}"])
async def test_a_file_that_is_being_written_is_not_taken_up(
    current: CurrentPolicy[None], file: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    heard: list[PolicyFile] = []
    current.on_change(heard.append)
    look, looks = in_force._look, 0

    def write_on(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        write(file, half if looks == 1 else THREE)
        return look(*arguments)

    monkeypatch.setattr(in_force, "_look", write_on)
    await current.refresh()
    assert [policy.limits.user.clusters for policy in heard] == [3]
    assert looks == 3


async def test_a_file_that_is_written_all_the_time_is_refused_until_it_rests(
    current: CurrentPolicy[None], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, numbers = in_force._look, itertools.count(3)

    def write_on(*arguments: Any) -> Any:
        write(file, f"limits: {{user: {{clusters: {next(numbers)}}}}}")
        return look(*arguments)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(in_force, "_AT_REST_SECONDS", 0)
        meanwhile.setattr(in_force, "_look", write_on)
        await current.refresh()
    assert clusters(current) == 2
    assert current.refused is not None
    assert "is being written all the time" in current.refused.reason
    write(file, THREE)
    await current.refresh()
    assert (clusters(current), current.refused) == (3, None)


async def test_every_replica_follows_its_own_copy_as_kubernetes_swaps_it(tmp_path: Path) -> None:
    replicas: list[CurrentPolicy[None]] = []
    for name in "ab":
        mount = tmp_path / name
        (mount / "..1").mkdir(parents=True)
        (mount / "..1" / "policy.yaml").write_text(TWO)
        (mount / "..data").symlink_to("..1")
        (mount / "policy.yaml").symlink_to("..data/policy.yaml")
        replicas.append(CurrentPolicy(mount / "policy.yaml", PolicyFile(), check))
    mount = tmp_path / "b"
    (mount / "..2").mkdir()
    (mount / "..2" / "policy.yaml").write_text(THREE)
    (mount / "..new").symlink_to("..2")
    (mount / "..new").rename(mount / "..data")
    for replica in replicas:
        await replica.refresh()
    assert [clusters(replica) for replica in replicas] == [2, 3]


@pytest.mark.parametrize("broken", ["limits: {user: {clusters: -1}}", "profiles: {absent: {}}", "\0", "[}"])
async def test_while_a_file_is_refused_the_policy_in_force_stays(
    current: CurrentPolicy[None], file: Path, clock: Clock, broken: str
) -> None:
    write(file, broken)
    clock.now = 200
    await current.refresh()
    clock.now = 300
    await current.refresh()
    assert (clusters(current), current.since) == (2, 100)
    assert current.refused is not None
    assert current.refused.at == 200
    assert current.refused.reason.startswith("line 1: ")
    assert refused() == 1
    write(file, TWO)
    await current.refresh()
    assert (current.refused, refused(), current.since) == (None, 0, 100)


async def test_a_file_that_goes_and_comes_back_is_refused_meanwhile(current: CurrentPolicy[None], file: Path) -> None:
    delete(file)
    await current.refresh()
    assert clusters(current) == 2
    assert current.refused is not None
    assert current.refused.reason == f"the policy file {file} cannot be read: No such file or directory"
    write(file, "\xff", "latin-1")
    await current.refresh()
    assert current.refused.reason.startswith(f"line 1: {file} is not text in UTF-8")
    write(file, TWO)
    await current.refresh()
    assert current.refused is None


def test_at_the_start_a_broken_file_is_told_with_its_name(file: Path) -> None:
    file.write_text("profiles: {absent: {}}\n")
    with pytest.raises(BadPolicyFile) as caught:
        CurrentPolicy(file, PolicyFile(), check)
    assert str(caught.value) == (
        f"the policy file {file} is refused:\nline 1: profiles.absent: there is no such backend"
    )


class Python:
    """A policy whose profile names a module, and what the function of the module in force says."""

    def __init__(self, directory: Path, clock: Clock, reading_seconds: float) -> None:
        self.module = directory / "site_offer.py"
        self.write("count = 0")
        file = directory / "policy.yaml"
        file.write_text("profiles:\n  lab:\n    python: 'site_offer:offer'\n")
        self.current = CurrentPolicy(file, PolicyFile(), self._fit, clock=clock, reading_seconds=reading_seconds)
        self.heard: list[int] = []
        self.current.on_change(lambda _: self.heard.append(self.current.fitted()))

    def write(self, text: str) -> None:
        new = self.module.with_suffix(".new")
        new.write_text(f"{text}\ndef offer(): return count\n")
        new.rename(self.module)  # many clocks of files tick only every 4 ms

    @staticmethod
    def _fit(policy: PolicyFile) -> Callable[[], int]:
        [name] = policy.modules
        try:
            return modules.load(name).offer
        except modules.CannotImport as error:
            raise UnfitPolicy([(("profiles", "lab", "python"), str(error))]) from None


@pytest.fixture
def reading_seconds() -> float:
    return 60


@pytest.fixture
def python(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, reading_seconds: float) -> Iterator[Python]:
    monkeypatch.syspath_prepend(tmp_path)
    yield Python(tmp_path, clock, reading_seconds)
    sys.modules.pop("site_offer", None)


async def test_a_changed_module_is_taken_up_as_a_changed_policy_is(python: Python, clock: Clock) -> None:
    await python.current.refresh()
    assert python.heard == []
    clock.now = 200
    python.write("count = 1")
    await python.current.refresh()
    await python.current.refresh()
    assert (python.heard, python.current.since) == ([1], 200)


async def test_a_broken_module_is_refused_once_and_the_one_in_force_stays(python: Python, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    tries.mkdir()
    python.write(f"import tempfile\ntempfile.mkdtemp(dir={str(tries)!r})\ncount = 1 / 0")
    for _ in range(3):
        await python.current.refresh()
    assert len(list(tries.iterdir())) == 1
    assert python.current.fitted() == 0
    assert python.current.refused is not None
    assert python.current.refused.reason == (
        f"line 3: profiles.lab.python: cannot be imported: {python.module}, line 3: ZeroDivisionError: division by zero"
    )
    assert refused() == 1
    python.write("count = 2")
    await python.current.refresh()
    assert (python.heard, python.current.refused, refused()) == ([2], None, 0)


@pytest.mark.parametrize("reading_seconds", [0.5])
async def test_a_module_that_hangs_is_refused_and_the_policy_is_followed_on(python: Python) -> None:
    python.write("while True: pass")
    await python.current.refresh()
    assert python.current.refused is not None
    assert "reading the policy and its Python did not answer within 0.5 s" in python.current.refused.reason
    assert python.current.fitted() == 0
    await until_heard(python, 3)  # once the loop is ended


async def until_heard(python: Python, count: int) -> None:
    """Write the module each time: one that was imported too slowly is read again only once it changes."""
    async with asyncio.timeout(60):
        while python.heard != [count]:
            python.write(f"count = {count}")
            await python.current.refresh()


@pytest.mark.parametrize("reading_seconds", [0.5])
async def test_a_policy_that_is_given_up_before_its_modules_are_known_is_read_again(
    python: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def hang(*_: object) -> PolicyFile:
        release.wait()
        raise RuntimeError("nobody waits any more")

    python.write("count = 1")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(PolicyFile, "read", hang)
        await python.current.refresh()
    release.set()
    assert python.current.refused is not None
    await until_heard(python, 2)


async def test_without_a_file_the_policy_of_the_settings_stays() -> None:
    policy = PolicyFile.read(THREE)
    current = CurrentPolicy(None, policy, check)
    await current.refresh()
    assert current.policy is policy
