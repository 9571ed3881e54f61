"""Policy files that are wrong: each problem has its line, its key and its reason, and none costs more than its size."""

from __future__ import annotations

from itertools import pairwise

import pytest

from headrace_chassis.policy_document import MAX_BYTES, BadPolicy, Document, Problem
from headrace_controller.policy.file import PolicyFile, UnfitPolicy


def problems(text: str) -> list[str]:
    with pytest.raises(BadPolicy) as caught:
        PolicyFile.read(text)
    return list(map(str, caught.value.problems))


def test_an_empty_file_is_the_default_policy() -> None:
    assert PolicyFile.read("# nothing yet\n") == PolicyFile()


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
profils: {}
culling:
  idle:
    after: 3 lumps
limits:
  user:
    clusters: -1
    memory_bytes: 5 lumps
"""
    assert problems(text) == [
        "line 1: profils: there is no such key",
        "line 4: culling.idle.after: '3 lumps' is no length of time; write one such as '30 min', '2 h' or 90",
        "line 7: limits.user.clusters: Input should be greater than or equal to 0",
        "line 8: limits.user.memory_bytes: could not interpret byte unit: lumps",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("limits: {\n", "line 2: this is not YAML"),
        ("[]", "line 1: must be a mapping of keys to values"),
        ("limits:\n  user: 5", "line 2: limits.user: must be a mapping of keys to values"),
        ("1: 2", "line 1: 1: Keys should be strings"),
        (
            "limits:\n  users:\n    1: {}",
            "line 3: limits.users.1: cannot be a key here: Input should be a valid string",
        ),
        ("\nprofiles: {B C: {}}", "line 2: profiles.B C: cannot be a key here: String should match pattern"),
        ("limits: {user: {clusters: yes}}", "line 1: limits.user.clusters: must be a number or a text, is true"),
        ("limits: {user: {resources: {x: no}}}", "line 1: limits.user.resources.x: must be a number or a text, is f"),
        ("culling: {lifetime: on}", "line 1: culling.lifetime: must be a number or a text, is true"),
        ("\nprofiles:", "line 2: profiles: must be a mapping of keys to values"),
        ("a: b\nc: \0", "line 2: this is not YAML: control characters are not allowed"),
        ("limits: {user: {memory_bytes: -5 GiB}}", "line 1: limits.user.memory_bytes: could not parse value and unit"),
        ("culling: {idle: {after: .inf}}", "line 1: culling.idle.after: Input should be"),
        ("? " + "x" * 2000 + "\n: 1", "line 1: " + "x" * 80 + ": there is no such key"),
        ("a: 1\n---\nb: 2", "line 2: this is not YAML"),
        ("limits:\n  user: {}\n  user: {}", "line 3: limits.user: the key is there twice"),
        ("profiles: !!python/object:os.system {}", "line 1: this is not YAML: could not determine a constructor"),
        ("\nprofiles: 2026-02-31", "line 2: this is not YAML: day is out of range"),
        ("\nprofiles: " + "1" * 5000, "line 2: this is not YAML: Exceeds the limit (4300 digits)"),
        ("? [1, 2]\n: 3", "line 1: this is not YAML: found unhashable key"),
        ("culling: {idle: {after: '-5 min'}}", "line 1: culling.idle.after: '-5 min' is no length of time"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, told: str) -> None:
    [problem] = problems(text)
    assert problem.startswith(told)


def test_a_key_that_overrides_a_merged_one_is_named_by_its_own_line() -> None:
    text = "limits:\n  deployment: &all\n    cores: 1\n  user:\n    <<: *all\n    cores: x\n"
    assert problems(text)[0].startswith("line 6: limits.user.cores: ")


def test_aliases_repeat_what_their_anchor_holds() -> None:
    policy = PolicyFile.read("limits: {deployment: &all {cores: 4}, user: {<<: *all, clusters: 2}}")
    assert (policy.limits.user.cores, policy.limits.user.clusters) == (4, 2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("#" * (MAX_BYTES + 1), "line 1: the file has 1048577 bytes; a policy may have at most 1048576"),
        ("[" * 100_000, "line 1: more than 32 values are within another"),
        ("- " * 100_000, "line 1: more than 32 values are within another"),
        ("a: &a [*a]", "line 1: the alias *a has no anchor that ends before it"),
        ("a: &a [&a [*a]]", "line 1: the alias *a has no anchor that ends before it"),
        ("- x\n" * 100_001, "line 100000: there are more than 100000 values"),
    ],
)
def test_a_file_that_would_cost_too_much_is_refused_before_it_does(text: str, told: str) -> None:
    [problem] = problems(text)
    assert problem.startswith(told)


def test_of_thousands_of_problems_the_first_are_told() -> None:
    users = "".join(f"    u{n}: {{cores: -1}}\n" for n in range(3000))
    found = problems(f"limits:\n  users:\n{users}")
    assert (len(found), found[-1]) == (101, "line 102: and 2900 more problems")
    assert found[99] == "line 102: limits.users.u99.cores: Input should be greater than or equal to 0"


def test_aliases_of_aliases_do_not_multiply() -> None:
    names = "abcdefghi"
    text = "a: &a [x]\n"
    for before, name in pairwise(names):
        text += f"{name}: &{name} [{', '.join([f'*{before}'] * 20)}]\n"
    [problem] = problems(text)
    assert problem == "line 5: there are more than 100000 values, those that aliases repeat included"


def test_what_does_not_fit_the_deployment_has_its_line_too() -> None:
    def check(policy: PolicyFile) -> None:
        raise UnfitPolicy([(("profiles", "b", "backend"), "there is none"), (("roles", "x"), "absent")])

    with pytest.raises(BadPolicy) as caught:
        PolicyFile.read("profiles:\n  a: {}\n  b:\n    backend: z\n", check)
    assert caught.value.problems == (
        Problem(1, "roles.x", "absent"),
        Problem(4, "profiles.b.backend", "there is none"),
    )


def test_a_problem_in_a_list_has_the_line_of_its_entry() -> None:
    document = Document.parse("a:\n  - x: 1\n  - x: 2\n    y: 3\n")
    assert document.problem(["a", 1, "y"], "").line == 4
    assert document.problem(["a", 1, "z"], "").line == 3
    assert document.problem(["a", 7], "").line == 1
