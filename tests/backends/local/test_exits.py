"""Why a process exited, as far as can be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.v1.enums import ExitCause
from headrace_backend_local.zygote.exits import OutOfMemory, explain


@pytest.mark.parametrize(
    ("code", "stopped", "out_of_memory", "cause", "message"),
    [
        (0, False, False, ExitCause.EXITED, ""),
        (3, False, False, ExitCause.EXITED, ""),
        (-11, False, False, ExitCause.EXITED, ""),
        (-9, False, False, ExitCause.EXITED, "perhaps by the kernel, because memory ran out"),
        (-9, False, True, ExitCause.OUT_OF_MEMORY, ""),
        (-9, True, True, ExitCause.STOPPED, ""),
        (None, True, False, ExitCause.STOPPED, ""),
        (
            None,
            False,
            False,
            ExitCause.EXITED,
            "its exit code is unknown, because the zygote that had started it was gone",
        ),
    ],
)
def test_each_exit_has_a_cause_and_what_else_is_known(
    code: int | None, stopped: bool, out_of_memory: bool, cause: ExitCause, message: str
) -> None:
    assert explain(code, stopped=stopped, out_of_memory=out_of_memory) == (cause, message)


@pytest.fixture
def count(tmp_path: Path) -> Path:
    path = tmp_path / "memory.events"
    path.write_text("low 0\noom 1\noom_kill 1\n")
    return path


def test_a_kill_of_the_kernel_counts_once(count: Path) -> None:
    kernel = OutOfMemory([count.parent / "not there", count])
    assert not kernel.has_killed()
    count.write_text("oom_kill 2\n")
    assert kernel.has_killed()
    assert not kernel.has_killed()


def test_two_kills_before_the_first_exit_is_seen_count_for_two(count: Path) -> None:
    kernel = OutOfMemory([count])
    kernel.refresh()
    count.write_text("oom_kill 3\n")
    assert kernel.has_killed()
    kernel.refresh()
    assert kernel.has_killed()
    kernel.refresh()
    kernel.refresh()
    assert not kernel.has_killed()


def test_a_kill_that_has_just_happened_is_not_lost_to_a_look(count: Path) -> None:
    kernel = OutOfMemory([count])
    count.write_text("oom_kill 2\n")
    kernel.refresh()
    assert kernel.has_killed()


def test_a_kill_long_ago_is_not_blamed(count: Path) -> None:
    kernel = OutOfMemory([count])
    count.write_text("oom_kill 2\n")
    kernel.refresh()
    kernel.refresh()
    assert not kernel.has_killed()


def test_where_the_kernel_does_not_count_nothing_is_claimed(tmp_path: Path) -> None:
    assert not OutOfMemory([tmp_path / "nothing"]).has_killed()
    assert not OutOfMemory().has_killed()
