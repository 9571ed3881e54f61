"""Settings of profiles for their backend: checked by its model, with line and key, and passed on to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine

from headrace_chassis.identity.seal import new_deployment_key
from headrace_chassis.policy_document import BadPolicy
from headrace_controller.backends.base import BackendError, UnfitProfiles
from headrace_controller.backends.registry import LoadedBackend
from headrace_controller.backends.router import BackendRouter
from headrace_controller.config import Settings
from headrace_controller.parts.base import BaseParts
from headrace_controller.policing.printed import print_policy
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import Profiles, build_profiles


class PodSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image: str = "standard"
    tolerations: list[dict[str, Any]] = Field(default=[])
    amounts: dict[str, float] = Field(default={})


POLICY = """\
profiles:
  spot:
    backend: pods
    settings:
      image: example.org/dask:1
      tolerations:
        - {key: spot}
  plain: {backend: pods}
  here: {}
"""


def build(text: str) -> Profiles:
    built: list[Profiles] = []
    PolicyFile.read(
        text, lambda policy: built.append(build_profiles(policy, {"local": [], "pods": []}, {"pods": PodSettings}))
    )
    return built[0]


def test_each_backend_gets_the_settings_of_its_profiles() -> None:
    assert build(POLICY).backend_settings() == {
        "pods": {
            "spot": PodSettings(image="example.org/dask:1", tolerations=[{"key": "spot"}]),
            "plain": PodSettings(),
        }
    }


def test_what_is_wrong_has_its_line_and_key() -> None:
    text = """\
profiles:
  spot:
    backend: pods
    settings:
      imag: x
      tolerations:
        - {key: spot}
        - never
      amounts: [4]
  here:
    settings: {image: x}
"""
    with pytest.raises(BadPolicy) as caught:
        build(text)
    assert [str(problem) for problem in caught.value.problems] == [
        "line 5: profiles.spot.settings.imag: there is no such key",
        "line 8: profiles.spot.settings.tolerations.1: must be a mapping of keys to values",
        "line 9: profiles.spot.settings.amounts: must be a mapping of keys to values",
        "line 11: profiles.here.settings: backend 'local' has no settings of profiles",
    ]


def test_a_policy_with_settings_is_shown_as_it_can_be_read_again() -> None:
    policy = PolicyFile.read(POLICY + "  odd: {settings: {limit_bytes: 12Mi, deep: {x_bytes: [1]}}}\n")
    assert PolicyFile.read(print_policy(policy)) == policy


class ProfiledBackend(FakeBackend):
    """Knows what its profiles need, once it has been asked."""

    def __init__(self, verdict: Exception | None = None) -> None:
        super().__init__(FakeMachine())
        self.verdict = verdict
        self.used: Mapping[str, Any] = {}

    async def check_profiles(self, settings: Mapping[str, Any]) -> None:
        if self.verdict is not None:
            raise self.verdict

    def use_profiles(self, settings: Mapping[str, Any]) -> None:
        self.used = settings


async def test_backends_are_told_of_their_profiles_only() -> None:
    pods, others = ProfiledBackend(), ProfiledBackend()
    router = BackendRouter({"pods": pods, "local": FakeBackend(FakeMachine()), "others": others}, lambda _: None)
    router.use_profiles({"pods": {"spot": 1}, "local": {}})
    assert (pods.used, others.used) == ({"spot": 1}, {})


async def test_faults_of_all_backends_are_told_even_if_one_is_away() -> None:
    first = ProfiledBackend(UnfitProfiles([(("a", "image"), "is none")]))
    second = ProfiledBackend(UnfitProfiles([(("b", "tolerations", 0), "has no key")]))
    away = ProfiledBackend(BackendError("does not answer"))
    router = BackendRouter({"first": first, "away": away, "second": second}, lambda _: None)
    await router.open()
    try:
        with pytest.raises(UnfitProfiles, match=r"^a\.image: is none\nb\.tolerations\.0: has no key$"):
            await router.check_profiles({"first": {}, "away": {}, "second": {}})
        first.verdict = second.verdict = None
        with pytest.raises(BackendError, match="does not answer"):
            await router.check_profiles({"first": {}, "away": {}, "second": {}})
        await router.check_profiles({"first": {}, "second": {}})
    finally:
        await router.close()


async def test_a_policy_reaches_the_backends_and_is_refused_if_they_refuse_it(tmp_path: Path) -> None:
    key, file = tmp_path / "key", tmp_path / "policy.yaml"
    key.write_text(new_deployment_key() + "\n")
    file.write_text("profiles: {p: {settings: {image: first}}}")
    settings = Settings.model_validate(
        {"listen": "unix:/run/x.sock", "deployment_key_file": key, "policy_file": file, "deployment": "test"}
    )
    backend, redis = ProfiledBackend(), Redis()
    base = BaseParts(settings, redis, redis, {"pods": LoadedBackend(backend, (), PodSettings)})
    base.current_policy.on_change(base.follow_backends)
    base.follow_backends(base.current_policy.policy)
    assert backend.used == {"p": PodSettings(image="first")}
    await base.router.open()
    try:
        backend.verdict = UnfitProfiles([(("p", "image"), "cannot be pulled")])
        file.write_text("profiles:\n  p:\n    settings:\n      image: second")
        await base.current_policy.refresh()
        assert base.current_policy.refused is not None
        assert base.current_policy.refused.reason == "line 4: profiles.p.settings.image: cannot be pulled"
        assert backend.used == {"p": PodSettings(image="first")}
        backend.verdict = BackendError("does not answer")
        file.write_text("profiles: {p: {settings: {image: third}}}")
        await base.current_policy.refresh()
        assert base.current_policy.refused is None
        assert backend.used == {"p": PodSettings(image="third")}
    finally:
        await base.router.close()
        await redis.aclose()


async def test_a_backend_that_is_not_open_cannot_be_asked() -> None:
    router = BackendRouter({"pods": ProfiledBackend()}, lambda _: None)
    with pytest.raises(BackendError, match="backend pods: is not open"):
        await router.check_profiles({"pods": {}})
