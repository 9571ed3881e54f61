"""Backends are found by entry point, and wrong settings are explained in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine

from headrace.option_types import Text
from headrace_backend_local.backend import LocalBackend
from headrace_controller.backends.base import Backend, Deployment
from headrace_controller.backends.registry import GROUP, UnusableBackend, load
from headrace_controller.options.catalogue import Option

DEPLOYMENT = Deployment(id="test", agent_endpoint="unix:/agents")


class Settings(BaseModel):
    """Settings of the plugin that this module is."""

    model_config = ConfigDict(extra="forbid")

    size: int = Field(ge=1, description="Size.")
    colour: str = "blue"


class ProfileSettings(BaseModel):
    """Settings of profiles of the plugin that this module is."""


def options(settings: Settings) -> Sequence[Option]:
    return [Option(key="colour", label="Colour", description="", type=Text(), default=settings.colour)]


def create(settings: Settings, deployment: Deployment) -> Backend:
    assert deployment is DEPLOYMENT
    return FakeBackend(FakeMachine())


FAKE = EntryPoint("fake", __name__, GROUP)
BROKEN = EntryPoint("broken", "no_such_module", GROUP)


def test_a_backend_has_its_own_settings_and_options() -> None:
    loaded = load({"fake": {"size": "3", "colour": "red"}}, DEPLOYMENT, [FAKE, BROKEN])
    assert list(loaded) == ["fake"]
    assert isinstance(loaded["fake"].backend, FakeBackend)
    assert [(option.key, option.default) for option in loaded["fake"].options] == [("colour", "red")]
    assert loaded["fake"].profile_settings is ProfileSettings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fake": {}}, "backends.fake.size: Field required"),
        ({"fake": {"size": 0}}, "backends.fake.size: Input should be greater than or equal to 1"),
        (
            {"fake": {"size": 1, "sise": 3, "color": ""}},
            "backends.fake.sise: Extra inputs are not permitted; backends.fake.color: Extra inputs are not permitted",
        ),
        ({"slurm": {}}, "backends.slurm is not installed; installed are: broken, fake"),
        ({"broken": {}}, "backends.broken cannot be imported: No module named 'no_such_module'"),
        ({}, "backends must name a backend; installed are: broken, fake"),
    ],
)
def test_a_backend_that_cannot_be_created_is_explained(settings: dict[str, dict[str, object]], sentence: str) -> None:
    with pytest.raises(UnusableBackend) as caught:
        load(settings, DEPLOYMENT, [FAKE, BROKEN])
    assert str(caught.value) == sentence


def test_without_any_installed_backend_that_is_said() -> None:
    with pytest.raises(UnusableBackend, match="no backend is installed"):
        load({"local": {}}, DEPLOYMENT, [])


def test_the_installed_backends_have_the_local_one(tmp_path: Path) -> None:
    [(name, loaded)] = load({"local": {"directory": str(tmp_path), "standby": "1"}}, DEPLOYMENT).items()
    assert name == "local"
    assert isinstance(loaded.backend, LocalBackend)
    assert {option.key for option in loaded.options} == {"conda_prefix", "start_command"}
    assert loaded.profile_settings is None


def test_no_settings_mean_the_only_installed_backend() -> None:
    assert isinstance(
        load({}, DEPLOYMENT, [EntryPoint("local", "headrace_backend_local.plugin", GROUP)])["local"].backend,
        LocalBackend,
    )
