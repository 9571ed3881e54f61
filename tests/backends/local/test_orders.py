"""What is to be started, from the options of a cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.backends.local.processes import spec

from headrace_backend_local.environment import inherited, needs_fresh_interpreter
from headrace_backend_local.orders import Orders
from headrace_backend_local.protocol import Order
from headrace_controller.backends.base import SCHEDULER

SERVER = {
    "PATH": "/usr/bin",
    "HOME": "/home/ann",
    "LC_ALL": "C.UTF-8",
    "VIRTUAL_ENV": "/srv/venv",
    "PYTHONPATH": "/srv/lib",
    "HEADRACE_CONTROLLER_REDIS_URL": "redis://:password@host",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


def order(
    options: Mapping[str, object] | None = None,
    *,
    warm: bool = True,
    process: str = SCHEDULER,
    environment: Mapping[str, str] | None = None,
) -> Order:
    orders = Orders(deployment="d", directory=Path("/data"), warm=warm, environ=SERVER)
    return orders.of(spec("c1", process, (), environment=environment or {}, options=options or {}))


def test_without_options_it_is_a_fork() -> None:
    made = order(environment={"A": "1"})
    assert made.command == []
    assert made.environment["A"] == "1"
    assert made.environment["HEADRACE_CLUSTER"] == "c1"
    assert "PATH" not in made.environment
    assert made.title.startswith("dask scheduler headrace=d@")


def test_without_warmth_it_is_this_interpreter_with_the_agent() -> None:
    made = order(warm=False)
    assert made.command == [sys.executable, "-m", "headrace.agent"]
    assert made.environment["PATH"] == "/usr/bin"
    assert made.environment["DASK_TEMPORARY_DIRECTORY"] == made.directory == "/data/work/c1"


def test_what_is_no_business_of_users_is_not_inherited() -> None:
    assert set(inherited(SERVER)) == {"PATH", "HOME", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH"}
    made = order(warm=False)
    assert "AWS_SECRET_ACCESS_KEY" not in made.environment
    assert "HEADRACE_CONTROLLER_REDIS_URL" not in made.environment


def test_a_conda_prefix_brings_its_own_python_and_nothing_of_ours() -> None:
    made = order({"conda_prefix": "/opt/conda/envs/x/"})
    assert made.command == ["/opt/conda/envs/x/bin/python", "-m", "headrace.agent"]
    assert made.environment["CONDA_PREFIX"] == "/opt/conda/envs/x"
    assert made.environment["PATH"] == "/opt/conda/envs/x/bin:/usr/bin"
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & set(made.environment)


def test_what_the_user_asks_for_is_kept_in_a_conda_prefix() -> None:
    made = order({"conda_prefix": "/c"}, environment={"PYTHONPATH": "/mine", "PATH": "/bin"})
    assert made.environment["PYTHONPATH"] == "/mine"
    assert made.environment["PATH"] == "/c/bin:/bin"


def test_a_start_command_replaces_the_usual_one() -> None:
    made = order({"start_command": ["dask", "cuda", "worker"]}, process="w-1")
    assert made.command == ["dask", "cuda", "worker"]
    assert made.environment["HEADRACE_PROCESS"] == "w-1"


def test_the_identity_cannot_be_overridden() -> None:
    made = order(warm=False, environment={"HEADRACE_CLUSTER": "c2", "HEADRACE_MARK": "none"})
    assert made.environment["HEADRACE_CLUSTER"] == "c1"
    assert made.environment["HEADRACE_MARK"] == made.mark


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "PYTHONPATH",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "LANG",
        "DASK_LOGGING",
        "TZ",
    ],
)
def test_variables_that_are_read_early_need_a_fresh_interpreter(name: str) -> None:
    assert needs_fresh_interpreter([name])
    assert order(environment={name: "1"}).command


@pytest.mark.parametrize("name", ["COLOUR", "AWS_PROFILE", "LANGSMITH", "PYTH", "CUDA_VISIBLE_DEVICES"])
def test_others_do_not(name: str) -> None:
    assert not needs_fresh_interpreter([name])


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"start_command": [1]}, "start_command"),
        ({"start_command": "dask worker"}, "start_command"),
        ({"conda_prefix": "relative/path"}, "conda_prefix"),
        ({"conda_prefix": 3}, "conda_prefix"),
        ({"environment": ["A=1"]}, "environment"),
        ({"environment": {"A=B": "1"}}, "environment"),
        ({"environment": {"A": "nul\0"}}, "environment"),
    ],
)
def test_wrong_options_are_refused_with_their_name(options: dict[str, object], wrong: str) -> None:
    assert wrong in order(options).refusal
