"""What the zygote starts, from the specs of processes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.backends.processes import spec

from headrace_backend_local.launch_specs import LaunchSpecs
from headrace_backend_local.protocol import LaunchSecrets, LaunchSpec, encode
from headrace_chassis.environment import inherited, needs_fresh_interpreter
from headrace_controller.backends.base import Deployment
from headrace_controller.backends.process import SCHEDULER

SERVER = {
    "PATH": "/usr/bin",
    "HOME": "/home/ann",
    "LC_ALL": "C.UTF-8",
    "VIRTUAL_ENV": "/srv/venv",
    "PYTHONPATH": "/srv/lib",
    "HEADRACE_CONTROLLER_REDIS_URL": "redis://:password@host",
    "AWS_SECRET_ACCESS_KEY": "secret",
}


@dataclass(frozen=True)
class Made:
    spec: LaunchSpec
    secrets: LaunchSecrets

    @property
    def command(self) -> list[str]:
        return self.secrets.command

    @property
    def environment(self) -> dict[str, str]:
        return self.secrets.environment


def launch_spec(
    settings: Mapping[str, object] | None = None,
    *,
    warm: bool = True,
    process: str = SCHEDULER,
    environment: Mapping[str, str] | None = None,
) -> Made:
    deployment = Deployment(id="d", agent_endpoint="unix:/agents")
    specs = LaunchSpecs(deployment=deployment, directory=Path("/data"), warm=warm, environ=SERVER)
    return Made(*specs.of(spec("c1", process, (), environment=environment or {}, settings=settings or {})))


def test_without_options_it_is_a_fork() -> None:
    made = launch_spec(environment={"A": "1"})
    assert (made.command, made.spec.warm) == ([], True)
    assert made.environment["A"] == "1"
    assert made.environment["HEADRACE_CLUSTER"] == "c1"
    assert "PATH" not in made.environment
    assert made.spec.title.startswith("dask scheduler headrace=d@")


def test_without_warm_starts_it_is_this_interpreter_with_the_agent() -> None:
    made = launch_spec(warm=False)
    assert (made.command, made.spec.warm) == ([sys.executable, "-m", "headrace.agent"], False)
    assert made.environment["PATH"] == "/usr/bin"
    assert made.environment["DASK_TEMPORARY_DIRECTORY"] == made.spec.directory == "/data/work/c1"


def test_the_services_own_variables_are_not_inherited() -> None:
    assert set(inherited(SERVER)) == {"PATH", "HOME", "LC_ALL", "VIRTUAL_ENV", "PYTHONPATH"}
    made = launch_spec(warm=False)
    assert "AWS_SECRET_ACCESS_KEY" not in made.environment
    assert "HEADRACE_CONTROLLER_REDIS_URL" not in made.environment


def test_a_conda_prefix_brings_its_own_python_and_nothing_of_the_servers() -> None:
    made = launch_spec({"conda_prefix": "/opt/conda/envs/x/"})
    assert made.command == ["/opt/conda/envs/x/bin/python", "-m", "headrace.agent"]
    assert made.environment["CONDA_PREFIX"] == "/opt/conda/envs/x"
    assert made.environment["PATH"] == "/opt/conda/envs/x/bin:/usr/bin"
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & set(made.environment)


def test_what_the_user_asks_for_is_kept_in_a_conda_prefix() -> None:
    made = launch_spec({"conda_prefix": "/c"}, environment={"PYTHONPATH": "/mine", "PATH": "/bin"})
    assert made.environment["PYTHONPATH"] == "/mine"
    assert made.environment["PATH"] == "/c/bin:/bin"


def test_a_start_command_replaces_the_usual_one() -> None:
    made = launch_spec({"start_command": ["dask", "cuda", "worker"]}, process="w-1")
    assert made.command == ["dask", "cuda", "worker"]
    assert made.environment["HEADRACE_PROCESS"] == "w-1"


def test_the_identity_cannot_be_overridden() -> None:
    made = launch_spec(warm=False, environment={"HEADRACE_CLUSTER": "c2", "HEADRACE_PROCESS_TAG": "none"})
    assert made.environment["HEADRACE_CLUSTER"] == "c1"
    assert made.environment["HEADRACE_PROCESS_TAG"] == made.spec.tag


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
    assert launch_spec(environment={name: "1"}).command


@pytest.mark.parametrize("name", ["COLOUR", "AWS_PROFILE", "LANGSMITH", "PYTH", "CUDA_VISIBLE_DEVICES"])
def test_others_do_not(name: str) -> None:
    assert not needs_fresh_interpreter([name])


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"start_command": [1]}, "start_command"),
        ({"start_command": "dask worker"}, "start_command"),
        ({"conda_prefix": "relative/path"}, "conda_prefix must be an absolute path"),
        ({"conda_prefix": 3}, "conda_prefix"),
    ],
)
def test_wrong_settings_are_refused_with_their_name(settings: dict[str, object], wrong: str) -> None:
    refusal = launch_spec(settings).spec.refusal
    assert refusal.startswith("scheduler cannot start: ")
    assert wrong in refusal


@pytest.mark.parametrize(("cluster", "process"), [("../up", SCHEDULER), ("c1", "a/b"), ("", SCHEDULER), ("c 1", "w")])
def test_names_that_cannot_be_paths_are_refused(cluster: str, process: str) -> None:
    specs = LaunchSpecs(
        deployment=Deployment(id="d", agent_endpoint="unix:/agents"), directory=Path("/data"), warm=True, environ={}
    )
    with pytest.raises(ValueError, match="cannot name a process"):
        specs.of(spec(cluster, process))


def test_what_the_zygote_reads_has_nothing_of_command_environment_and_token() -> None:
    made = launch_spec({"start_command": ["my-command"]}, environment={"MY_KEY": "my-value"})
    line = encode(made.spec)
    assert not [word for word in (b"my-command", b"MY_KEY", b"my-value", b'"token"') if word in line]
