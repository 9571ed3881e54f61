"""A policy that others have to be asked about: it is refused with its lines, and nothing stops while they are away."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_chassis.policy_document import BadPolicy
from headrace_controller.policy.current import CurrentPolicy, UncheckedPolicy
from headrace_controller.policy.file import PolicyFile, UnfitPolicy

GOOD = "profiles:\n  good: {}\n"
MISSING = "profiles:\n  good: {}\n  other:\n    settings:\n      priority_class: urgent\n"
REASON = "line 5: profiles.other.settings.priority_class: there is none"


class Server:
    """Has the answers."""

    away = False
    classes: frozenset[str] = frozenset()
    asked = 0

    async def verify(self, policy: PolicyFile) -> None:
        self.asked += 1
        if self.away:
            raise UncheckedPolicy("the API server does not answer")
        for key, profile in policy.profiles.items():
            wanted = profile.settings.get("priority_class")
            if wanted is not None and wanted not in self.classes:
                raise UnfitPolicy([(("profiles", key, "settings", "priority_class"), "there is none")])


class Site:
    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.now = 100.0
        self.server = Server()
        file.write_text(text)
        self.current = CurrentPolicy(
            file, PolicyFile(), lambda policy: policy, self.server.verify, clock=lambda: self.now
        )

    async def write(self, text: str) -> None:
        self.file.write_text(text)
        await self.current.refresh()

    @property
    def profiles(self) -> list[str]:
        return list(self.current.policy.profiles)

    @property
    def refusal(self) -> str | None:
        return None if self.current.refused is None else self.current.refused.reason


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policy.yaml"


async def test_a_policy_that_others_refuse_is_refused_until_they_do_not(file: Path) -> None:
    site = Site(file, GOOD)
    await site.write(MISSING)
    assert (site.profiles, site.refusal) == (["good"], REASON)
    asked = site.server.asked
    await site.current.refresh()
    assert site.server.asked == asked  # not each second
    site.server.classes = frozenset({"urgent"})
    site.now += 30
    await site.current.refresh()
    assert (site.profiles, site.refusal) == (["good", "other"], None)
    asked = site.server.asked
    site.now += 3000
    await site.current.refresh()
    assert site.server.asked == asked  # it is known to be fit


async def test_while_they_are_away_a_policy_holds_and_is_verified_later(file: Path) -> None:
    site = Site(file, GOOD)
    site.server.away = True
    await site.write(MISSING)
    assert (site.profiles, site.refusal) == (["good", "other"], None)
    site.server.away = False
    site.now += 30
    await site.current.refresh()
    assert (site.profiles, site.refusal) == (["good", "other"], REASON)
    await site.write(GOOD)
    assert (site.profiles, site.refusal) == (["good"], None)


async def test_the_policy_of_the_start_holds_even_if_others_refuse_it(file: Path) -> None:
    site = Site(file, MISSING)
    assert site.profiles == ["good", "other"]
    await site.current.refresh()
    assert (site.profiles, site.refusal) == (["good", "other"], REASON)
    site.server.classes = frozenset({"urgent"})
    site.now += 30
    await site.current.refresh()
    assert site.refusal is None


async def test_a_broken_file_is_not_read_each_second(file: Path) -> None:
    site = Site(file, GOOD)
    await site.write("profils: {}")
    assert site.refusal == "line 1: profils: there is no such key"
    await site.current.refresh()
    assert site.server.asked == 0
    await site.write(GOOD)
    assert (site.refusal, site.server.asked) == (None, 1)


async def test_profiles_of_the_settings_are_verified_too() -> None:
    server = Server()
    policy = PolicyFile.read(MISSING)
    current = CurrentPolicy(None, policy, lambda policy: policy, server.verify, clock=lambda: 100.0)
    await current.refresh()
    assert current.policy is policy
    assert current.refused is not None
    assert current.refused.reason.endswith("profiles.other.settings.priority_class: there is none")


async def test_comparing_verifies_but_does_not_wait_for_those_who_are_away(file: Path) -> None:
    site = Site(file, GOOD)
    with pytest.raises(BadPolicy, match="priority_class: there is none") as caught:
        await site.current.check(MISSING)
    assert [problem.line for problem in caught.value.problems] == [5]
    site.server.away = True
    policy, _ = await site.current.check(MISSING)
    assert list(policy.profiles) == ["good", "other"]
    assert site.profiles == ["good"]
