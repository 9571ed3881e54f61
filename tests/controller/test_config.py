"""Settings within settings: setting one leaves the others as they are, wherever each is set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from headrace_controller.config import Settings

PREFIX = "HEADRACE_CONTROLLER_"


def leaves(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Sequence[Any]]]:
    """The paths of all settings within settings, and two values of each, the second one not its default."""
    for name, field in model.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from leaves(type(default), (*above, name))
        elif above and not isinstance(default, dict):  # mappings are merged by their keys
            is_time = "BeforeValidator" in f"{field.annotation}{field.metadata}"
            yield (*above, name), ("3 s", "7 s") if is_time else _values(field.annotation, default)


def _values(kind: Any, default: object) -> Sequence[Any]:
    if isinstance(default, str):
        return get_args(kind)[:2] or ("http://a:9090", "http://b:9090")
    return ("/a", "/b") if Path in get_args(kind) else (3, 7)


VALUES = dict(leaves(Settings))


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


@pytest.mark.parametrize("path", VALUES, ids="__".join)
def test_one_setting_leaves_the_others_at_their_defaults(
    environment: pytest.MonkeyPatch, tmp_path: Path, path: tuple[str, ...]
) -> None:
    _, value = VALUES[path]
    expected = at(Settings.load().model_dump(mode="json"), path, value)
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(at({}, path, value)))
    assert Settings.load(file).model_dump(mode="json") == expected
    environment.setenv(PREFIX + "__".join(path).upper(), str(value))
    assert Settings.load().model_dump(mode="json") == expected


@pytest.mark.parametrize("path", VALUES, ids="__".join)
def test_the_environment_adds_to_the_file(
    environment: pytest.MonkeyPatch, tmp_path: Path, path: tuple[str, ...]
) -> None:
    content: dict[str, Any] = {}
    expected = Settings.load().model_dump(mode="json")
    for other, (first, _) in VALUES.items():
        if other != path:
            at(content, other, first)
            at(expected, other, first)
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(content))
    _, value = VALUES[path]
    environment.setenv(PREFIX + "__".join(path).upper(), str(value))
    assert Settings.load(file).model_dump(mode="json") == at(expected, path, value)


def test_there_are_such_settings() -> None:
    assert ("limits", "cluster", "workers") in VALUES
    assert ("calls", "reads_burst") in VALUES


def test_zero_switches_culling_of_idle_clusters_off(environment: pytest.MonkeyPatch) -> None:
    environment.setenv(PREFIX + "IDLE_TIMEOUT_SECONDS", "0")
    assert Settings.load().policy().culling.idle is None
