"""The backend of docs/extending.md does what every backend must."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tests.backends.contract import BackendContract, MakeBackend

from headrace_controller.backends.base import Deployment
from headrace_controller.backends.registry import GROUP, LoadedBackend, load

_DOCUMENT = Path(__file__).parents[2] / "docs" / "extending.md"
_MODULE = "headrace_backend_jobs"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EntryPoint]:
    """The entry point of a module that has the first example of the section."""
    section = _DOCUMENT.read_text(encoding="utf-8").partition("## Write a backend\n")[2].partition("\n## ")[0]
    [code, *_] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / f"{_MODULE}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield EntryPoint("jobs", _MODULE, GROUP)
    sys.modules.pop(_MODULE, None)


class TestExample(BackendContract):
    @pytest.fixture
    def make_backend(self, installed: EntryPoint, tmp_path: Path) -> MakeBackend:
        return lambda: create(installed, tmp_path / "jobs").backend


def create(installed: EntryPoint, directory: Path) -> LoadedBackend:
    deployment = Deployment(id="test", agent_endpoint="unix:/agents")
    return load({"jobs": {"directory": str(directory)}}, deployment, [installed])["jobs"]


def test_it_has_its_own_option(installed: EntryPoint, tmp_path: Path) -> None:
    assert [option.key for option in create(installed, tmp_path).options] == ["start_command"]
