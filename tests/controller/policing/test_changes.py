"""How policies are printed, and in which keys two of them differ."""

from __future__ import annotations

import pytest
import yaml

from headrace_controller.policing.changes import Change, changes
from headrace_controller.policing.printed import print_policy
from headrace_controller.policy.file import PolicyFile

FULL = """
profiles:
  small: {label: Kleine Maschine ☃}
  gpu: {options: {worker_gpus: {default: 1, choices: {one: 1, two: 2}}}, limits: {gpus: 8}}
limits:
  user: {memory_bytes: 64 GiB, cores: 2.5}
  deployment: {memory_bytes: 1500}
worker: {memory_bytes: 7.2 GiB}
roles: {admins: [users/ann], operators: {lab: [groups/staff]}}
culling: {idle: {after: 90 min, warn: 0.5 s}, nobody_connected: null, lifetime: 7 d}
budgets: {user: [{per: month, core_hours: 100}]}
currency: EUR
"""


ODD = r"""
profiles: {a: {label: "\a\e[31m\u202e<b>\n: #", description: "*a &b !c", groups: ["a\nb", "Zoë ☃", "- x", "{}"]}}
limits: {groups: {"x: y": {cores: 1}, "\"": {gpus: 2}}, users: {"null": {cores: 1}, "1": {cores: 2}, "yes": {}}}
currency: "\u00a4"
"""


@pytest.mark.parametrize("text", ["", FULL, ODD])
def test_what_is_printed_can_be_read_again(text: str) -> None:
    policy = PolicyFile.read(text)
    assert PolicyFile.read(print_policy(policy)) == policy


def test_sizes_and_times_are_printed_with_their_units() -> None:
    printed = yaml.safe_load(print_policy(PolicyFile.read(FULL)))
    assert printed["limits"]["user"]["memory_bytes"] == "64 GiB"
    assert printed["limits"]["deployment"]["memory_bytes"] == 1500
    assert printed["limits"]["cluster"]["memory_bytes"] is None
    assert printed["culling"]["idle"]["after"] == "90 min"
    assert printed["culling"]["lifetime"] == "7 d"


def test_keys_that_differ_are_told_with_both_values() -> None:
    before = PolicyFile.read("{profiles: {a: {}, b: {}}, limits: {user: {cores: 4}}, culling: {idle: {after: 1 h}}}")
    after = PolicyFile.read("{profiles: {a: {label: A}}, limits: {user: {memory_bytes: 8 GiB}}, culling: {idle: null}}")
    [label, b, cores, memory, idle] = changes(before, after)
    assert label == Change("profiles.a.label", "''", "A")
    assert (b.key, b.after) == ("profiles.b", None)
    assert b.before is not None
    assert cores == Change("limits.user.cores", "4.0", "null")
    assert memory == Change("limits.user.memory_bytes", "null", "8 GiB")
    assert (idle.key, idle.after) == ("culling.idle", "null")


def test_a_default_that_is_written_out_and_another_order_of_keys_are_no_change() -> None:
    before = PolicyFile.read("{limits: {user: {clusters: 100}}, worker: {cores: 1}}")
    assert changes(before, PolicyFile.read("{worker: {}, limits: {}}")) == []


def test_the_first_profile_is_the_default_one() -> None:
    before, after = PolicyFile.read("profiles: {a: {}, b: {}}"), PolicyFile.read("profiles: {b: {}, a: {}}")
    assert changes(before, after) == [Change("profiles (the default one)", "a", "b")]
