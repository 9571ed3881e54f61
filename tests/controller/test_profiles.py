"""Profiles and limits: what the settings may say, and what follows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from tests.controller.builders import new_cluster

from headrace.errors import InvalidRequest, QuotaExceeded
from headrace.option_types import Bytes, Choice, Select, Text
from headrace_controller.admission import Admission
from headrace_controller.config import Settings
from headrace_controller.model import AdaptRange, Cluster, Demand, Group, Limits
from headrace_controller.options.catalogue import Option
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import Person, Profiles, UnknownProfile, build_profiles

ANN = Person(user="ann")
IMAGE = Option(key="image", label="Image", description="Container image.", type=Text(), default="lab:1")


def settings(**values: Any) -> Settings:
    return Settings(listen="127.0.0.1:0", deployment_key_file=Path("key"), **values)


def profiles(**values: Any) -> Profiles:
    made = settings(backends={"local": {}, "pods": {}}, **values)
    return build_profiles(made.policy(), {"local": [], "pods": [IMAGE]})


def options(made: Profiles, key: str = "") -> dict[str, Option]:
    return {option.key: option for option in made.choose(key, ANN).offered(ANN)}


def test_without_settings_there_is_one_profile_on_the_first_backend() -> None:
    [profile] = profiles()
    assert (profile.key, profile.label, profile.backend, profile.limits) == ("default", "default", "local", None)
    assert options(profiles())["worker_memory"].default == 2 * 2**30


def test_the_first_profile_is_the_default_and_each_has_its_backends_options() -> None:
    made = profiles(profiles={"small": {"label": "Small"}, "gpu": {"backend": "pods", "limits": {"gpus": 8}}})
    assert [profile.key for profile in made] == ["small", "gpu"]
    assert made.choose("", ANN).key == "small"
    assert made.get("gpu").limits == Limits(gpus=8)
    assert "image" in options(made, "gpu")
    assert "image" not in options(made, "small")
    with pytest.raises(UnknownProfile, match="there is no profile 'large'; you may choose small, gpu"):
        made.choose("large", ANN)
    with pytest.raises(UnknownProfile, match="there is no profile 'large' any more"):
        made.get("large")


def test_a_cluster_whose_profile_has_gone_keeps_its_backend_if_there_is_one_only() -> None:
    assert profiles().backend_of("gone") == "local"
    two = profiles(profiles={"a": {"backend": "local"}, "b": {"backend": "pods"}})
    assert two.backend_of("b") == "pods"
    assert two.backend_of("gone") is None


def test_a_profile_narrows_options() -> None:
    changes = {
        "worker_memory": {"maximum": "8 GiB", "default": "4 GiB"},
        "worker_cores": {"choices": [1, 4]},
        "image": {"choices": {"the lab's": "lab:1", "the new one": "lab:2"}, "default": "the new one"},
    }
    made = options(profiles(profiles={"lab": {"backend": "pods", "options": changes}}))
    assert (made["worker_memory"].type, made["worker_memory"].default) == (Bytes(0, 2**33), 2**32)
    assert made["worker_cores"].type == Select((Choice(1.0, "1"), Choice(4.0, "4")))
    assert made["image"].default == "lab:2"
    assert made["worker_threads"].default == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"worker_memry": {"default": 1}}, "worker_memry: backend 'local' has no such option"),
        ({"worker_memory": {"maximum": "1 GiB"}}, "the default must be at most 1 GiB, is 2 GiB; set `default`"),
        ({"worker_memory": {"choices": ["1 GiB"]}}, "the default must be one of '1 GiB'.*set `default`"),
        ({"worker_memory": {"minimum": "lots"}}, "must be a number of bytes"),
        ({"worker_cores": {"maximum": 2048}}, "must be at most 1024, is 2048"),
        ({"environment": {"maximum": 3}}, "has no minimum and no maximum"),
    ],
)
def test_a_change_that_does_not_fit_is_told_with_its_place(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=rf"profiles\.default\.options\..*{reason}"):
        profiles(profiles={"default": {"options": change}})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"profiles": {}}, "at least 1"),
        ({"profiles": {"Not A Key": {}}}, "pattern"),
        ({"profiles": {"a": {"options": {"x": {"choices": []}}}}}, "at least 1 item"),
        ({"profiles": {"a": {"options": {"x": {"choices": [1], "minimum": 1}}}}}, "set either"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        settings(**values)


def test_setting_one_limit_keeps_the_defaults_of_the_others() -> None:
    made = settings(limits={"cluster": {"cores": 100}, "user": {"memory_bytes": "1 TiB"}}).limits
    assert made.cluster.limits() == Limits(workers=1000, cores_milli=100_000)
    assert made.user.limits() == Limits(clusters=100, workers=1000, memory_bytes=2**40)


def test_a_profile_of_a_backend_that_is_not_there_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"profiles\.a\.backend: there is no backend 'slurm'; `backends` has local, pods"
    ):
        profiles(profiles={"a": {"backend": "slurm"}})


def test_the_examples_of_the_documentation_are_valid() -> None:
    page = Path(__file__).parents[2] / "docs" / "profiles.md"
    [example, own, _of_backend] = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    prefix = Option(key="conda_prefix", label="", description="", type=Text(), default="")
    lab = build_profiles(PolicyFile.read(own), {"local": [prefix]}).get("lab").offered(ANN)
    values, violations = lab.check({"shape": "large", "conda": "ml", "patience": "1 h"}, "o")
    assert violations == []
    assert (values["worker_cores"], values["conda_prefix"]) == (8.0, "/opt/envs/ml")
    assert values["environment.LAB_PATIENCE"] == "3600"
    made = settings(**yaml.safe_load(example))
    large = options(build_profiles(made.policy(), {"local": []}), "gpu")["worker_memory"]
    assert large.type.check("large") == 64 * 2**30
    assert made.limits.cluster.limits() == Limits(workers=100)


# Admission


def admission(**values: Any) -> Admission:
    made = settings(**values)
    return Admission(made.policy(), build_profiles(made.policy(), {"local": []}))


def test_every_subject_is_charged_the_closest_first() -> None:
    made = admission(limits={"user": {"clusters": 3}}, profiles={"gpu": {"limits": {"gpus": 8}}})
    cluster = new_cluster(profile="gpu")
    assert list(made.limits(cluster).items()) == [
        (f"clusters/{cluster.id}", Limits(workers=1000, memory_bytes=2**50)),
        (f"users/{cluster.owner}", Limits(clusters=3, workers=1000)),
        ("profiles/gpu", Limits(gpus=8)),
        ("deployment", Limits()),
    ]
    assert made.limits(new_cluster(profile="gone"))["profiles/gone"] == Limits()


def test_absurd_demands_are_refused_before_the_store_counts_with_them() -> None:
    made = admission()
    assert made.demand(new_cluster(groups=(Group(size=100_000),))) == Demand(
        clusters=1, workers=100_000, cores_milli=100_001_000, memory_bytes=2 * 2**30
    )
    with pytest.raises(QuotaExceeded, match="may have 1000 workers"):
        made.demand(new_cluster(groups=(Group(size=100_001),)))
    with pytest.raises(QuotaExceeded, match="of memory"):
        made.demand(new_cluster(groups=(Group(size=2, options={"worker_memory": 2**50}),)))


def of(**options: Any) -> Cluster:
    """A cluster with one group of these options."""
    return new_cluster(profile="default", groups=(Group(size=1, options=options),))


@pytest.mark.parametrize("subject", ["cluster", "user", "deployment", "profile"])
def test_where_memory_is_limited_each_worker_has_a_limit_of_its_own(subject: str) -> None:
    bound = {"memory_bytes": "8 GiB"}
    values = {"profiles": {"default": {"limits": bound}}} if subject == "profile" else {"limits": {subject: bound}}
    made = admission(**values)
    made.check(of(worker_memory=2**30, worker_threads=1024))
    with pytest.raises(InvalidRequest, match="because a limit on memory binds; give a size such as '2 GiB'") as caught:
        made.check(of(worker_memory=0))
    assert [violation.field for violation in caught.value.violations] == ["spec.worker_groups[0].options.worker_memory"]


@pytest.mark.parametrize("subject", ["cluster", "user", "deployment", "profile"])
def test_where_cores_are_limited_they_bound_the_threads(subject: str) -> None:
    values = {"profiles": {"default": {"limits": {"cores": 8}}}} if subject == "profile" else {}
    made = admission(limits={} if values else {subject: {"cores": 8}}, **values)
    made.check(of(worker_cores=0.01, worker_threads=4))
    made.check(of(worker_cores=2.5, worker_threads=12, worker_memory=0))
    with pytest.raises(InvalidRequest, match=r"may be at most 4 with 0.01 worker_cores, is 5; ask for more"):
        made.check(of(worker_cores=0.01, worker_threads=5))
    with pytest.raises(InvalidRequest, match=r"may be at most 12 with 2.5 worker_cores"):
        made.check(of(worker_cores=2.5, worker_threads=13))


def test_groups_from_before_a_limit_may_shrink_and_their_error_says_the_way_out() -> None:
    made = admission(limits={"user": {"memory_bytes": "8 GiB", "cores": 8}})
    unlimited = {"worker_memory": 0, "worker_threads": 64}

    def group(size: int, adapt: AdaptRange | None = None, **options: int) -> Cluster:
        return new_cluster(groups=(Group(size=size, adapt=adapt, options=options or unlimited),))

    ranged = group(2, AdaptRange(minimum=0, maximum=4))
    made.check(group(1), group(2))
    made.check(group(2), group(2))
    made.check(group(4), ranged)
    for grown, before in ((group(3), group(2)), (group(5), ranged), (group(0, AdaptRange(minimum=0)), ranged)):
        with pytest.raises(InvalidRequest, match=r"limit on memory binds; a group keeps its options: add") as caught:
            made.check(grown, before)
        assert len(caught.value.violations) == 2
    with pytest.raises(InvalidRequest, match=r"give a size"):
        made.check(group(1, worker_memory=0, worker_threads=1), group(2))


def test_where_nothing_is_limited_workers_may_have_any_shape() -> None:
    admission().check(of(worker_cores=0.01, worker_threads=1024, worker_memory=0))


def test_a_scheduler_counts_as_its_settings_say() -> None:
    made = admission(scheduler={"cores": 0.5, "memory_bytes": "1 GiB"})
    assert made.count(new_cluster()) == Demand(clusters=1, cores_milli=500, memory_bytes=2**30)
    assert admission().count(new_cluster()) == Demand(clusters=1, cores_milli=1000, memory_bytes=2 * 2**30)
