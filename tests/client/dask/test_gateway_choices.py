"""What a Gateway asks for: options, profiles, owners and time in the queue."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import dask.config
import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace import (
    Gateway,
    Options,
    errors,
)
from headrace.v1 import cluster_service_pb2 as pb


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("10 min", 600), (90, 90), (0, 0), (0.5, 0.5), (timedelta(hours=1), 3600), (None, 7200)],
)
def test_a_user_says_how_long_to_wait_in_the_queue(
    fake: FakeHeadrace, gateway: Gateway, given: Any, seconds: float
) -> None:
    with dask.config.set({"headrace.timeouts.queue": "2h"}):
        gateway.submit(queue_timeout=given)
    [asked] = fake.requests_of(pb.CreateClusterRequest)
    assert asked.queue_timeout.ToTimedelta().total_seconds() == seconds


def test_without_an_argument_or_a_setting_the_deployment_says_how_long(fake: FakeHeadrace, gateway: Gateway) -> None:
    gateway.submit()
    [asked] = fake.requests_of(pb.CreateClusterRequest)
    assert not asked.HasField("queue_timeout")


@pytest.mark.parametrize("timeout", ["soon", "", -1, math.inf, math.nan, timedelta(-1), timedelta.max, "1e9"])
def test_times_in_the_queue_that_make_no_sense_are_refused_at_once(
    fake: FakeHeadrace, gateway: Gateway, timeout: Any
) -> None:
    for call in (gateway.submit, gateway.new_cluster):
        with pytest.raises(errors.InvalidRequest, match="queue_timeout: "):
            call(queue_timeout=timeout)
    assert fake.calls == []


def test_numbers_among_texts_are_texts(gateway: Gateway) -> None:
    name = gateway.submit(environment={"OMP_NUM_THREADS": 1, "MODE": "fast"})
    assert gateway.get_cluster(name).options == {"environment": {"OMP_NUM_THREADS": "1", "MODE": "fast"}}


@pytest.mark.parametrize(
    ("wrong", "cls", "told"),
    [
        ({"worker_cors": 1}, errors.UnknownOption, "headrace.cluster.options.worker_cors: there is no such option"),
        ({"worker_cores": 1000}, errors.InvalidRequest, "headrace.cluster.options.worker_cores: must be at most"),
        ({"environment": {"A": True}}, errors.WrongType, "headrace.cluster.options.environment['A']: must be text"),
        ({"image": "{NOWHERE}"}, errors.InvalidRequest, "headrace.cluster.options.image: is the template '{NOWHERE}'"),
    ],
)
def test_a_wrong_configured_option_is_named_by_its_setting(
    fake: FakeHeadrace, gateway: Gateway, wrong: dict[str, object], cls: type[errors.InvalidRequest], told: str
) -> None:
    with (
        dask.config.set({"headrace.cluster.options": wrong}),
        pytest.raises(errors.InvalidRequest) as caught,
    ):
        gateway.cluster_options()
    assert (type(caught.value), str(caught.value).startswith(told)) == (cls, True), caught.value


def test_what_is_changed_within_an_option_is_sent_and_checked(fake: FakeHeadrace, gateway: Gateway) -> None:
    options = gateway.cluster_options()
    options.environment["MODE"] = "fast"
    assert gateway.get_cluster(gateway.submit(options)).options["environment"] == {"MODE": "fast"}
    options.environment["HEADRACE_ROLE"] = "x"
    with pytest.raises(errors.InvalidRequest, match=r"environment\['HEADRACE_ROLE'\]: may not be set"):
        gateway.submit(options)


def test_values_that_cannot_be_sent_are_named(gateway: Gateway) -> None:
    with pytest.raises(errors.WrongType, match=r"image: <object"):
        gateway.submit(image=object())
    with pytest.raises(errors.WrongType, match="cluster_options: must be an Options, a mapping of text or None, is 3"):
        gateway.submit(3)  # pyright: ignore[reportArgumentType]


def test_options(fake: FakeHeadrace, gateway: Gateway) -> None:
    options: Options = gateway.cluster_options()
    options.worker_cores = 4
    options["size"] = "large"
    first = gateway.submit(options, worker_cores=8)
    assert gateway.get_cluster(first).options == {"worker_cores": 8, "size": "large"}
    assert options.worker_cores == 4
    with pytest.raises(errors.UnknownOption, match="did you mean 'worker_cores'"):
        gateway.submit(options, worker_core=1)


def test_profiles(fake: FakeHeadrace, gateway: Gateway) -> None:
    assert [(profile.key, profile.label) for profile in gateway.profiles()] == [
        ("standard", "Standard"),
        ("gpu", "GPU"),
    ]
    options = gateway.cluster_options(profile="gpu")
    assert (options.gpu, gateway.cluster_options().gpu) == (True, False)
    assert gateway.get_cluster(gateway.submit(options)).profile == "gpu"
    assert gateway.get_cluster(gateway.submit(profile="gpu")).profile == "gpu"
    with pytest.raises(errors.InvalidRequest, match="no profile 'cray'"):
        gateway.cluster_options(profile="cray")


def test_a_cluster_for_somebody_else_says_whose(fake: FakeHeadrace, gateway: Gateway) -> None:
    assert fake.clusters[gateway.submit(owner="bob")].record.owner == "users/bob"
    gateway.submit(owner="bob", owner_groups=["lab", "groups/staff"])
    gateway.submit(owner="bob", owner_groups=[])
    unset, given, none = fake.requests_of(pb.CreateClusterRequest)
    assert not unset.HasField("owner_groups")
    assert list(given.owner_groups.groups) == ["groups/lab", "groups/staff"]
    assert none.HasField("owner_groups")


def test_configured_options(fake: FakeHeadrace, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_IMAGE", "lab:1")
    with dask.config.set({"headrace.cluster.options": {"image": "{JUPYTER_IMAGE}", "worker_cores": 3}}):
        assert gateway.cluster_options().image == "lab:1"
        assert gateway.cluster_options(use_local_defaults=False).worker_cores == 2
        name = gateway.submit(worker_cores=5)
    assert gateway.get_cluster(name).options == {"image": "lab:1", "worker_cores": 5}


def test_configured_options_need_not_agree_with_a_cluster_of_that_name(gateway: Gateway) -> None:
    name = gateway.submit(name="mine", worker_cores=4)
    with dask.config.set({"headrace.cluster.options": {"worker_cores": 3}}):
        assert gateway.submit(name="mine") == name
        assert gateway.submit(gateway.cluster_options(), name="mine") == name
        with pytest.raises(errors.OptionsDiffer, match="worker_cores is 4, not 5"):
            gateway.submit(name="mine", worker_cores=5)


def test_a_cluster_whose_profile_is_not_offered_any_more_can_be_found(fake: FakeHeadrace, gateway: Gateway) -> None:
    name = gateway.submit(name="mine", worker_cores=4)
    fake.clusters[name].record.spec.profile = "gone"
    with pytest.raises(errors.OptionsDiffer, match="worker_cores is 4, not 5"):
        gateway.submit(name="mine", worker_cores=5)
