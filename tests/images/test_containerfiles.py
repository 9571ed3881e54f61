"""The Containerfiles make what the tests on Kubernetes run: the same layers by the same script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, cast

import pytest
from dockerfile_parse import DockerfileParser
from tests.kubernetes import images

ROOT = Path(__file__).parents[2]
SYSTEMS = {"headrace": images.SERVICES_SYSTEM, "headrace-dask": images.DASK_SYSTEM}
PROJECTS = {"headrace": images.SERVICES, "headrace-dask": ("client",)}

pytestmark = pytest.mark.parametrize("name", sorted(SYSTEMS))


def _containerfile(name: str) -> Path:
    return ROOT / "deploy" / "images" / name / "Containerfile"


def _values(name: str, instruction: str) -> list[str]:
    """What follows each instruction of that kind, in its order."""
    with _containerfile(name).open("rb") as file:
        parsed = DockerfileParser(fileobj=cast("IO[str]", file)).structure  # Its annotation is wrong: it wants bytes.
    return [" ".join(one["value"].split()) for one in parsed if one["instruction"] == instruction]


def _layers(name: str) -> list[list[str]]:
    """Words of each call of layers.sh."""
    commands = [part.split() for value in _values(name, "RUN") for part in value.split("&&")]
    return [words[1:] for words in commands if words[0] == "./layers.sh"]


def test_hadolint_finds_nothing(name: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, _containerfile(name)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_system_is_that_of_the_tests(name: str) -> None:
    assert _layers(name)[0] == ["system", "/system", *SYSTEMS[name]]


def test_requirements_and_our_own_distributions_are_layers_of_their_own(name: str) -> None:
    requirements, own = _layers(name)[1:]
    assert requirements[:3] == ["python", "/requirements", "/system"]
    assert f"deploy/images/{name}/requirements.txt ./" in _values(name, "COPY")
    assert own == ["python", "/own", "/system", "--no-deps", "--no-index", "/wheels/*.whl"]
    built = next(value for value in _values(name, "RUN") if "pip wheel" in value).split("&&")[0].split()
    assert {word.removeprefix("./") for word in built if word.startswith("./")} == set(PROJECTS[name])


def test_a_container_starts_as_in_the_tests(name: str) -> None:
    image = images.images()[name]
    assert _values(name, "USER") == [image.user]
    assert _values(name, "WORKDIR")[-1] == image.workdir
    assert _values(name, "ENV")[0].split() == [images.PATH, *image.environment]
    assert _values(name, "ENTRYPOINT") == _values(name, "CMD") == []


def test_the_last_stage_holds_the_layers_and_nothing_else(name: str) -> None:
    assert _values(name, "FROM") == ["${DEBIAN} AS build", "scratch"]
    copied = [value for value in _values(name, "COPY") if value.startswith("--from")]
    assert copied == [f"--from=build /{layer} /" for layer in ("system", "requirements", "own")]
    assert _values(name, "ARG") == ["DEBIAN=debian:bookworm-slim"]
