"""Options that a policy declares, whom it offers what, and what follows from values."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.option_types import Bool, Bytes, Choice, Duration, Float, Int, OptionValue, Select, Text, TextMapping
from headrace_chassis.policy_document import BadPolicy
from headrace_controller.model import Group, Spec
from headrace_controller.options.catalogue import Option, Options
from headrace_controller.options.shapes import backend_settings, environment, shape
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import Person, Profile, UnknownProfile, build_profiles

IMAGE = Option(key="image", label="Image", description="", type=Text(), default="lab:1")
ANN, LAB = Person(user="ann"), Person(user="bob", groups=("students", "lab"))
POLICY = """
profiles:
  lab:
    groups: [lab]
    users: [ann]
    options:
      worker_memory: {maximum: 8 GiB}
      environment: {deny: [AWS_*]}
      image: {pattern: "lab:[0-9]+", max_length: 20}
      mode:
        type: choice
        label: Mode
        description: How fast.
        choices: {Fast one: fast, Slow one: slow}
        sets: {environment.MODE: "{value}", worker_cores: {fast: 4, Slow one: 0.5}}
      version:
        type: integer
        minimum: 1
        maximum: 9
        sets: {image: "lab:{value}"}
      debug: {type: boolean, sets: {environment.DEBUG: "{value}"}}
      ratio: {type: float, default: 0.5, sets: {environment.RATIO: "r={value}"}}
      note: {type: text, max_length: 5, sets: {environment.NOTE: "{value}"}}
      cache: {type: bytes, default: 1 GiB, sets: {environment.CACHE: "{value}"}}
      patience: {type: duration, default: 2 h, maximum: 1 d, sets: {environment.PATIENCE: "{value}"}}
      extra: {type: mapping, per_group: false, sets: {environment: "{value}"}}
    for_groups:
      lab:
        worker_memory: {maximum: 64 GiB}
      students:
        worker_memory: {maximum: 1 GiB, default: 1 GiB}
        mode: {choices: [slow]}
  open: {}
"""


def profile(text: str = POLICY, key: str = "lab") -> Profile:
    return build_profiles(PolicyFile.read(text), {"pods": [IMAGE]}).get(key)


def offered(person: Person = ANN) -> Options:
    return profile().offered(person)


def spec(given: dict[str, object], *groups: dict[str, object], person: Person = ANN) -> Spec:
    options = offered(person)
    values, violations = options.check(given, "options")
    assert violations == []
    made: list[Group] = []
    for n, group in enumerate(groups):
        checked, violations = options.check(group, "group", cluster=values)
        assert violations == []
        made.append(Group(name=f"g{n}", options=checked))
    return Spec(options=values, groups=tuple(made))


def wrong(given: dict[str, object], cluster: dict[str, OptionValue] | None = None) -> dict[str, str]:
    _, violations = offered().check(given, "o", cluster=cluster)
    return {violation.field: violation.description for violation in violations}


# What is declared


def test_options_of_every_type_can_be_declared() -> None:
    options = {option.key: option for option in offered()}
    types = {key: (option.type, option.default, option.per_group) for key, option in options.items()}
    assert types["mode"] == (Select((Choice("fast", "Fast one"), Choice("slow", "Slow one"))), "fast", True)
    assert types["version"] == (Int(1, 9), 1, True)
    assert types["debug"] == (Bool(), False, True)
    assert types["ratio"] == (Float(), 0.5, True)
    assert types["note"] == (Text(5), "", True)
    assert types["cache"] == (Bytes(0), 2**30, True)
    assert types["patience"] == (Duration(maximum=86400.0), 7200.0, True)
    assert types["extra"] == (TextMapping(), {}, False)
    assert (options["mode"].label, options["mode"].description, options["note"].label) == ("Mode", "How fast.", "note")


def test_options_that_others_set_are_not_offered() -> None:
    keys = [option.key for option in offered()]
    assert "worker_cores" not in keys
    assert "image" not in keys
    assert "environment" in keys
    assert wrong({"worker_cores": 64}).keys() == {"o.worker_cores"}


def test_what_is_set_follows_from_defaults_and_from_what_is_given() -> None:
    usual = spec({})
    assert usual.options["worker_cores"] == 4.0
    assert environment(usual, None) == {
        "MODE": "fast",
        "DEBUG": "false",
        "RATIO": "r=0.5",
        "CACHE": str(2**30),
        "PATIENCE": "7200",
    }
    assert backend_settings(usual, None, ["image"]) == {"image": "lab:1"}
    given = {"mode": "Slow one", "version": 3, "debug": True, "note": "hi", "patience": "90 min", "extra": {"A": 1}}
    other = spec({**given, "environment": {"B": "b"}})
    assert other.options["worker_cores"] == 0.5
    assert {"MODE": "slow", "DEBUG": "true", "NOTE": "hi", "PATIENCE": "5400", "A": "1", "B": "b"}.items() <= dict(
        environment(other, None)
    ).items()
    assert backend_settings(other, None, ["image"]) == {"image": "lab:3"}
    assert other.options["mode"] == "slow"


def test_a_group_has_what_follows_from_its_own_options_and_else_what_the_cluster_has() -> None:
    made = spec({"debug": True}, {}, {"mode": "slow"}, {"environment": {"A": "b"}})
    same, slow, own = made.groups
    assert same.options == {}
    assert slow.options == {"mode": "slow", "worker_cores": 0.5, "environment.MODE": "slow"}
    assert (shape(made, same).resources.cores, shape(made, slow).resources.cores) == (4.0, 0.5)
    assert (environment(made, slow)["MODE"], environment(made, slow)["DEBUG"]) == ("slow", "true")
    assert environment(made, own) == {**environment(made, None), "A": "b"}


def test_variables_that_follow_cannot_be_overridden() -> None:
    assert wrong({"environment": {"MODE": "x"}}).keys() == {"o.environment['MODE']"}
    cluster = dict(spec({}).options)
    assert wrong({"environment": {"MODE": "x"}}, cluster).keys() == {"o.environment['MODE']"}
    assert wrong({"environment.MODE": "x"}).keys() == {"o.environment.MODE"}


@pytest.mark.parametrize("name", ["HEADRACE_CLUSTER", "dask_distributed__comm__tls__ca-file", "AWS_KEY"])
def test_denied_variables_are_refused_also_those_of_a_mapping_that_is_passed_on(name: str) -> None:
    [(field, told)] = wrong({"environment": {name: "x"}}).items()
    assert field == f"o.environment['{name}']"
    assert "may not be set" in told
    if not name.startswith("AWS"):
        assert "follows from your other options" in next(iter(wrong({"extra": {name: "x"}}).values()))


@pytest.mark.parametrize("name", ["A B", "1A", "Ä", "A\n", "$(A)", ""])
def test_a_variable_that_kubernetes_would_refuse_is_refused_when_the_cluster_is_created(name: str) -> None:
    assert len(wrong({"environment": {"-a.B_1": "x", name: "x"}})) == 1
    [(field, told)] = wrong({"environment": {name or "=": "x"}}).items()
    assert field.startswith("o.environment")
    assert "must have a name that matches" in told or "must not contain '='" in told


def test_an_option_of_the_cluster_cannot_be_given_for_a_group() -> None:
    assert wrong({"extra": {"A": "b"}}, {}).keys() == {"o.extra"}


def test_what_is_set_is_checked_when_it_is_known() -> None:
    text = 'profiles: {p: {options: {tag: {type: text, sets: {image: "{value}"}}, image: {pattern: "(lab:.*)?"}}}}'
    options = profile(text, "p").offered(ANN)
    assert options.check({"tag": "lab:7"}, "o")[0]["image"] == "lab:7"
    _, [violation] = options.check({"tag": "evil"}, "o")
    assert violation.field == "o.image"
    assert "must match the pattern (lab:.*)?, is 'evil'; this follows from your other options" in violation.description


def test_texts_are_allowed_and_denied_by_what_they_are_like_for_each_group_of_users() -> None:
    text = """\
profiles:
  p:
    options:
      image: {allow: [lab*], deny: ["*:latest"]}
      tag: {type: text, sets: {image: "lab/dask:{value}"}}
    for_groups:
      devs: {image: {allow: [lab*, dev/*]}}
  q:
    options:
      image: {allow: [lab*], deny: ["*:latest"]}
"""

    def refused(image: str, *groups: str, profile_: str = "q") -> str:
        offered = profile(text, profile_).offered(Person(user="ann", groups=groups))
        _, violations = offered.check({"image": image} if profile_ == "q" else {"tag": image}, "o")
        return "".join(f"{violation.field} {violation.description}" for violation in violations)

    assert refused("lab/x:1") == refused("") == ""
    assert refused("dev/x:1") == "o.image must be like lab*, is 'dev/x:1'; no other is allowed"
    assert "must not be like *:latest" in refused("lab/x:latest")
    assert refused("1", profile_="p") == ""
    assert "must not be like *:latest, is 'lab/dask:latest'" in refused("latest", profile_="p")


# For whom


def test_groups_have_other_options_the_first_one_in_the_policy_wins() -> None:
    def memory(person: Person) -> object:
        return {option.key: option for option in offered(person)}["worker_memory"].type

    assert memory(ANN) == Bytes(0, 8 * 2**30)
    assert memory(LAB) == Bytes(0, 64 * 2**30)
    student = Person(user="eve", groups=("students",))
    assert memory(student) == Bytes(0, 2**30)
    modes = {option.key: option for option in offered(student)}["mode"]
    assert (modes.type, modes.default) == (Select((Choice("slow", "slow"),)), "slow")
    assert spec({}, person=student).options["worker_cores"] == 0.5
    assert {option.key: option for option in offered(student)}["mode"].label == "Mode"


def test_a_profile_is_seen_by_its_users_its_groups_and_admins_only() -> None:
    made = build_profiles(PolicyFile.read(POLICY), {"pods": [IMAGE]})
    stranger, admin = Person(user="eve", groups=("labs",)), Person(user="root", is_admin=True)
    seen = {person.user: [one.key for one in made.of(person)] for person in (ANN, LAB, stranger, admin)}
    assert seen == {"ann": ["lab", "open"], "bob": ["lab", "open"], "eve": ["open"], "root": ["lab", "open"]}
    assert made.choose("", stranger).key == "open"
    with pytest.raises(UnknownProfile) as hidden:
        made.choose("lab", stranger)
    with pytest.raises(UnknownProfile) as missing:
        made.choose("bal", stranger)
    assert str(hidden.value).replace("lab", "") == str(missing.value).replace("bal", "")
    made.replace([made.get("lab")])
    for key in ("", "lab"):
        with pytest.raises(UnknownProfile, match="no profile is offered to you"):
            made.choose(key, stranger)


# What is refused


def problem(options: str, more: str = "") -> Any:
    with pytest.raises(BadPolicy) as caught:
        PolicyFile.read(
            f"profiles:\n  p:\n    options:\n      {options}\n{more}",
            lambda policy: build_profiles(policy, {"pods": [IMAGE]}),
        )
    return caught.value.problems[0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("x: {minimum: 1}", "backend 'pods' has no such option; to declare one, give its `type`"),
        ("worker_cores: {type: float}", "there is such an option already"),
        ("X: {type: text}", "must begin with a letter"),
        ("name: {type: text}", "already has a meaning"),
        ("x: {type: colour}", "'text', 'boolean'"),
        ("x: {type: choice}", "give its `choices`"),
        ("x: {type: choice, choices: [[1]]}", "which is neither text nor a number"),
        ("x: {type: choice, choices: []}", "at least 1 item"),
        ("x: {type: choice, choices: [a], default: b}", "the default must be one of 'a', is 'b'"),
        ("x: {type: integer, minimum: 3, maximum: 2}", "has a minimum that is more than its maximum"),
        ("x: {type: integer, minimum: lots}", "must be a whole number"),
        ("x: {type: text, minimum: 3}", "because it is not a number"),
        ("x: {type: integer, pattern: a}", "because it is not a text"),
        ("x: {type: integer, deny: [a]}", "because it is neither a text nor a mapping of texts"),
        ("x: {type: integer, allow: [a]}", "cannot have `allow`"),
        ("x: {type: text, allow: [a*], default: b}", "the default must be like a*, is 'b'"),
        ("x: {type: text, pattern: '['}", "is no regular expression that can be used"),
        ("x: {type: text, pattern: '(a)\\1'}", "is no regular expression that can be used: backreferences"),
        ("x: {type: text, pattern: 'a+'}", "the default must match the pattern a+, is ''; set `default`"),
        ("x: {type: duration, default: soon}", "the default must be a length of time"),
        ("worker_cores: {sets: {image: '{value}'}}", "only a new option can have `sets`"),
        ("x: {type: text, sets: {image: lab}}", "must have '{value}' in its text"),
        ("x: {type: text, sets: {color: '{value}'}}", "there is no such option besides"),
        ("x: {type: text, sets: {image: {a: b}}}", "only if it has choices or is a boolean"),
        ("x: {type: boolean, sets: {worker_memory: {yes: 1 GiB, perhaps: 2 GiB}}}", "for 'perhaps', which is none"),
        ("x: {type: boolean, sets: {worker_memory: {true: lots}}}", "sets worker_memory, which must be a number of"),
        ("x: {type: choice, choices: [a], sets: {worker_gpus: '{value}'}}", "sets worker_gpus, which must be a whole"),
        ("x: {type: text, default: a, sets: {environment.HEADRACE_ROLE: '{value}'}}", "which may not be set"),
        ("x: {type: mapping, sets: {environment.A: '{value}'}}", "a mapping is passed on whole"),
        (
            "x: {type: text, sets: {image: '{value}'}}\n      y: {type: text, sets: {image: '{value}'}}",
            "sets image, as another option does",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused_with_line_and_reason(options: str, reason: str) -> None:
    found = problem(options)
    assert reason in found.reason
    assert found.key.startswith("profiles.p.options.")
    assert found.line in (4, 5)


def test_changes_for_a_group_are_checked_beforehand() -> None:
    found = problem(
        "worker_memory: {default: 4 GiB}", "    for_groups:\n      lab:\n        worker_memory: {maximum: 1 GiB}"
    )
    assert (found.line, found.key) == (7, "profiles.p.for_groups.lab.worker_memory")
    assert "the default must be at most 1 GiB, is 4 GiB" in found.reason
