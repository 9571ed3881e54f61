"""Our public surface beside that of dask-gateway: each difference stands in the table of docs/client.md.

`dask_gateway_surface.json` has the facts about the released dask-gateway; `surface.py` makes it.
"""

from __future__ import annotations

import fnmatch
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed.core import Status
from tests.client import surface
from tests.client.guide import table

from headrace import ClusterStatus, Gateway
from headrace._dask.state import State

FACTS = Path(__file__).parent / "dask_gateway_surface.json"
PEER = Path(__file__).parents[2] / ".cache/benchmarks/peer/bin/python"
_SETTINGS = {"http-client.proxy": "http-proxy"}


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> Iterator[str]:
    """Yields what a program for dask-gateway does not find with us as it is there."""
    for module, names in theirs["names"].items():
        yield from (f"{module}.{name}".lstrip(".") for name in names if name not in ours["names"][module])
    for name, arguments in theirs["arguments"].items():
        if name in ours["arguments"]:
            yield from _of_arguments(name, arguments, ours["arguments"][name])
        elif name.partition(".")[0] in ours["bases"] and "." in name:
            yield name
    for cls in theirs["bases"].keys() & ours["bases"].keys():
        yield from (f"{cls}.{name}" for name in theirs["attributes"][cls] if name not in ours["attributes"][cls])
        yield from (f"{cls}({base})" for base in theirs["bases"][cls] if base not in ours["bases"][cls])
    for key, default in theirs["settings"].items():
        if ours["settings"].get(_SETTINGS.get(key, key), ...) != default:
            yield f"gateway.{key}"


def _of_arguments(name: str, theirs: list[list[str | None]], ours: list[list[str | None]]) -> Iterator[str]:
    by_name = {str(argument): (kind, default) for argument, kind, default in ours}
    positional = [argument for argument, kind, _ in ours if kind == "POSITIONAL_OR_KEYWORD"]
    for place, (argument, kind, default) in enumerate(theirs):
        stars = {"VAR_KEYWORD": "**", "VAR_POSITIONAL": "*"}.get(str(kind), "")
        if str(argument) not in by_name:
            yield f"{name}({stars}{argument})"
        elif by_name[str(argument)] != (kind, default) or (not stars and positional[place : place + 1] != [argument]):
            yield f"{name}({argument})"


@pytest.fixture(scope="module")
def found() -> set[str]:
    theirs = json.loads(FACTS.read_text("utf-8"))
    return set(differences(theirs, surface.surface("headrace")))


@pytest.fixture(scope="module")
def described() -> set[str]:
    return {name.strip("`") for name in table("of dask-gateway")}


def test_each_difference_is_described(found: set[str], described: set[str]) -> None:
    assert not sorted(one for one in found if not any(fnmatch.fnmatchcase(one, pattern) for pattern in described))


def test_each_described_difference_exists(found: set[str], described: set[str]) -> None:
    assert not sorted(pattern for pattern in described if not fnmatch.filter(found, pattern))


@pytest.mark.skipif(not PEER.exists(), reason="`make bench` installs dask-gateway")
def test_the_facts_are_those_of_the_release() -> None:
    command = [PEER, surface.__file__]
    assert json.loads(subprocess.check_output(command)) == json.loads(FACTS.read_text("utf-8"))


def test_what_is_missing_or_has_another_default_is_a_difference() -> None:
    theirs = json.loads(FACTS.read_text("utf-8"))
    theirs["settings"] = {_SETTINGS.get(key, key): default for key, default in theirs["settings"].items()}
    assert not list(differences(theirs, theirs))
    for changed in (
        {**theirs, "settings": {**theirs["settings"], "address": "x"}},
        {**theirs, "names": {**theirs["names"], "auth": []}},
        {**theirs, "bases": {**theirs["bases"], "Options": []}},
        {**theirs, "attributes": {**theirs["attributes"], "Gateway": []}},
        {**theirs, "arguments": {**theirs["arguments"], "Gateway.connect": [["cluster_name", "KEYWORD_ONLY", None]]}},
    ):
        assert list(differences(theirs, changed))


@pytest.mark.parametrize("status", [State("running"), ClusterStatus.RUNNING])
def test_a_status_equals_its_text(status: State | ClusterStatus) -> None:
    assert status == "running"
    assert "running" == status  # noqa: SIM300 - both ways round
    assert not status != "running"  # noqa: SIM202
    assert status != "closed"
    assert status in ("closed", "running")


def test_the_state_of_an_object_equals_dasks_status() -> None:
    state = State("running")
    assert state == Status.running
    assert state in {Status.running, Status.closed}
    assert Status.running in {state, State("closed")}
    assert state != Status.closed
    assert (state.name, state.value, f"{state}", Status(state)) == ("running", "running", "running", Status.running)


def test_the_status_of_a_cluster_stays_a_number() -> None:
    assert ClusterStatus.RUNNING == 2
    assert {ClusterStatus.RUNNING: 1}[ClusterStatus(2)] == 1
    assert ClusterStatus.RUNNING != ClusterStatus.FAILED


def test_methods_take_what_dask_gateway_passes_on(gateway: Gateway) -> None:
    anything: Any = gateway
    assert anything.list_clusters(callback_timeout=30) == []
    assert anything.get_versions(asynchronous=False)["client"]
