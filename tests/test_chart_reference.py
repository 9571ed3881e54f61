"""The schema of the Helm chart's values follows from values.yaml."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "generate_chart_reference.py"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


VALUES = """
# -- Number
# of pods.
# @schema {"minimum": 1}
replicas: 2
# -- A part.
part:
  # -- Whether.
  enabled: false
  # -- Any labels.
  # @schema open
  labels: {app: x}
  # -- Anything.
  # @schema {"type": ["string", "null"]}
  name: null
# -- Free.
policy: {}
"""


def test_defaults_and_comments_make_the_schema(reference: ModuleType) -> None:
    properties = json.loads(reference.schema(reference.read_values(VALUES)))["properties"]
    assert properties["replicas"] == {"description": "Number of pods.", "type": "integer", "minimum": 1}
    assert properties["policy"] == {"description": "Free.", "type": "object"}
    part = properties["part"]
    assert part["additionalProperties"] is False
    assert part["properties"]["enabled"]["type"] == "boolean"
    assert "additionalProperties" not in part["properties"]["labels"]
    assert part["properties"]["name"]["type"] == ["string", "null"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("a: 1\n", "no comment `# -- ...` above a"),
        ("# -- A.\na:\n  b: 1\n", "no comment `# -- ...` above a.b"),
        ("# -- A.\na: 1\n# -- A.\na: 2\n", "twice there: a"),
    ],
)
def test_values_that_are_not_described_once_are_refused(reference: ModuleType, values: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said.replace("...", r"\.\.\.")):
        reference.read_values(values)
