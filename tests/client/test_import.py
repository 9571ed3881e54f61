"""`import headrace` is light, and says what there is."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import headrace


def test_import_loads_neither_dask_nor_grpc() -> None:
    code = "import headrace, sys; print(sorted({'dask', 'distributed', 'grpc', 'tornado'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("name", headrace.__all__)
def test_all_public_names_are_there(name: str) -> None:
    assert getattr(headrace, name) is not None
    assert name in dir(headrace)


@pytest.mark.parametrize("module", ["auth", "client", "options"])
def test_modules_have_the_names_of_dask_gateway(module: str) -> None:
    found = importlib.import_module(f"headrace.{module}")
    assert all(getattr(found, name) is getattr(headrace, name) for name in found.__all__)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Gatway'"):
        headrace.Gatway  # noqa: B018


def test_distributed_finds_the_comm_by_itself() -> None:
    code = "from distributed.comm.registry import get_backend; print(type(get_backend('gateway')).__module__)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "headrace._dask.comm"


def test_calls_work_without_dask() -> None:
    code = """
import sys
for name in ("dask", "distributed", "tornado"):
    sys.modules[name] = None
import headrace._wire.connection, headrace._target.config
print(headrace._target.config.get("connect"), headrace._target.config.get_seconds("timeouts.direct"))
try:
    headrace.Gateway
except ImportError as error:
    print(error)
"""
    answer = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert answer == ["auto 0.3", "headrace.Gateway needs Dask: pip install 'headrace[dask]'"]
