"""Settings within settings: setting one leaves the others as they are, wherever each is set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from headrace_controller.config import Settings

PREFIX = "HEADRACE_CONTROLLER_"


def leaves(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all settings within settings."""
    for name, field in model.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from leaves(type(default), (*above, name))
        elif above:
            yield (*above, name)


NESTED = sorted(leaves(Settings))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv(PREFIX + "LISTEN", "unix:/run/x.sock")
    monkeypatch.setenv(PREFIX + "DEPLOYMENT_KEY_FILE", "/keys")
    monkeypatch.setenv(PREFIX + "REPLICA", "a")
    return monkeypatch


def at(content: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """Set the value at a path."""
    inner = content
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    return content


@pytest.mark.parametrize("path", NESTED, ids="__".join)
def test_one_setting_leaves_the_others_at_their_defaults(
    environment: pytest.MonkeyPatch, tmp_path: Path, path: tuple[str, ...]
) -> None:
    expected = at(Settings.load().model_dump(), path, 7)
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(at({}, path, 7)))
    assert Settings.load(file).model_dump() == expected
    environment.setenv(PREFIX + "__".join(path).upper(), "7")
    assert Settings.load().model_dump() == expected


@pytest.mark.parametrize("path", NESTED, ids="__".join)
def test_the_environment_adds_to_the_file(
    environment: pytest.MonkeyPatch, tmp_path: Path, path: tuple[str, ...]
) -> None:
    content: dict[str, Any] = {}
    expected = Settings.load().model_dump()
    for other in NESTED:
        if other != path:
            at(content, other, 3)
            at(expected, other, 3)
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(content))
    environment.setenv(PREFIX + "__".join(path).upper(), "7")
    assert Settings.load(file).model_dump() == at(expected, path, 7)


def test_there_are_such_settings() -> None:
    assert ("limits", "cluster", "workers") in NESTED
    assert ("calls", "reads_burst") in NESTED
