"""The Containerfile makes what the tests on Kubernetes run: the same layers by the same script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, cast

import pytest
from dockerfile_parse import DockerfileParser
from tests.kubernetes import images

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "deploy" / "images" / "Containerfile"
SYSTEMS = {"headrace": images.SERVICES_SYSTEM, "headrace-dask": images.DASK_SYSTEM}
PROJECTS = {"headrace": images.SERVICES, "headrace-dask": ("client",)}

both = pytest.mark.parametrize("name", sorted(SYSTEMS))


def _stage(name: str) -> list[tuple[str, str]]:
    """Instructions of a stage, beginning with those of the stage that it is made from; "" is what precedes all."""
    current: list[tuple[str, str]] = []
    stages = {"": current}
    with CONTAINERFILE.open("rb") as file:
        parsed = DockerfileParser(fileobj=cast("IO[str]", file)).structure  # Its annotation is wrong: it wants bytes.
    for one in parsed:
        instruction, value = one["instruction"], " ".join(one["value"].split())
        if instruction == "FROM":
            base, _, stage = value.partition(" AS ")
            current = stages[stage] = [*stages.get(base, [("FROM", base)])]
        elif instruction != "COMMENT":
            current.append((instruction, value))
    return stages[name]


def _values(stage: str, instruction: str) -> list[str]:
    """What follows each instruction of that kind, in its order."""
    return [value for kind, value in _stage(stage) if kind == instruction]


def _layers(name: str) -> list[list[str]]:
    """Words of each call of layers.sh."""
    commands = [part.split() for value in _values(f"{name}-layers", "RUN") for part in value.split("&&")]
    return [words[1:] for words in commands if words[0] == "./layers.sh"]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, CONTAINERFILE], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@both
def test_the_system_is_that_of_the_tests(name: str) -> None:
    assert _layers(name)[0] == ["system", "/system", *SYSTEMS[name]]


@both
def test_requirements_and_our_own_distributions_are_layers_of_their_own(name: str) -> None:
    requirements, own = _layers(name)[1:]
    assert requirements[:3] == ["python", "/requirements", "/system"]
    assert f"deploy/images/{name}/requirements.txt ./" in _values(f"{name}-layers", "COPY")
    assert own == ["python", "/own", "/system", "--no-deps", "--no-index", "/wheels/*.whl"]
    built = next(value for value in _values(f"{name}-layers", "RUN") if "pip wheel" in value).split("&&")[0].split()
    assert {word.removeprefix("./") for word in built if word.startswith("./")} == set(PROJECTS[name])


@both
def test_a_container_starts_as_in_the_tests(name: str) -> None:
    image = images.images()[name]
    assert _values(name, "USER") == [image.user]
    assert _values(name, "WORKDIR") == [image.workdir]
    assert _values(name, "ENV")[0].split() == [images.PATH, *image.environment]
    assert _values(name, "ENTRYPOINT") == _values(name, "CMD") == []


@both
def test_an_image_holds_its_layers_and_nothing_else(name: str) -> None:
    assert _values(name, "FROM") == ["scratch"]
    assert _values(name, "COPY") == [f"--from={name}-layers /{layer} /" for layer in ("system", "requirements", "own")]


@both
def test_what_builds_can_be_pinned(name: str) -> None:
    assert _stage("") == [("ARG", "DEBIAN=debian:bookworm-slim")]
    assert _values(f"{name}-layers", "FROM") == ["${DEBIAN}"]
