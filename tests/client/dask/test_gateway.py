"""All methods of Gateway, used plainly and in coroutines."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import dask.config
import pytest
from distributed import Client
from tests.client.conftest import AsyncGateway
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import (
    BasicAuth,
    ClusterReport,
    ClusterStatus,
    Gateway,
    GatewayCluster,
    GatewayServerError,
    GatewayWarning,
    Options,
    Right,
    Share,
    __version__,
    errors,
)
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb


@pytest.fixture
def own(fake: FakeHeadrace) -> Callable[..., Gateway]:
    """Makes Gateways without any configuration."""

    def make(**kwargs: Any) -> Gateway:
        return Gateway(fake.address, fake.proxy.port, tls_ca_file=str(fake.ca_file), **kwargs)

    return make


def test_arguments_will_do_without_configuration(own: Callable[..., Gateway]) -> None:
    with own(auth=BasicAuth("carol", "carol sesame")) as gateway:
        assert gateway.whoami().name == "carol"


def test_attributes(fake: FakeHeadrace, gateway: Gateway) -> None:
    assert gateway.address == fake.address == gateway.public_address
    assert gateway.proxy_address == f"gateway://127.0.0.1:{fake.proxy.port}"
    assert repr(gateway) == f"Gateway<{fake.address}>"
    assert not gateway.asynchronous


def test_submit_and_list(gateway: Gateway, bob: Gateway) -> None:
    first, second = gateway.submit(), gateway.submit(worker_cores=4)
    assert [report.name for report in gateway.list_clusters()] == [second, first]
    assert bob.list_clusters() == []


def test_reports(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.starts = False
    name = gateway.submit(worker_cores=4, tags={"team": "x"}, worker_groups={"big": {"size": 2, "adapt": (1, 5)}})
    report: ClusterReport = gateway.get_cluster(name)
    assert (report.name, report.owner, report.status) == (name, "ann", ClusterStatus.PENDING)
    assert (report.options, report.tags, report.profile) == ({"worker_cores": 4}, {"team": "x"}, "standard")
    assert isinstance(report.options["worker_cores"], int)
    assert (report.scheduler_address, report.dashboard_link, report.security, report.stop_time) == (None,) * 4
    assert abs((datetime.now() - report.start_time).total_seconds()) < 60  # noqa: DTZ005 - as users of dask-gateway do
    assert [(group.name, group.size, group.adapt) for group in report.worker_groups] == [("big", 2, (1, 5))]
    assert [group.desired for group in report.worker_groups] == [2]
    assert repr(report) == f"ClusterReport<{name}, status=PENDING>"


def test_conditions_tell_what_is_known_and_what_is_not(gateway: Gateway) -> None:
    [condition] = gateway.get_cluster(gateway.submit()).conditions
    assert (condition.type, condition.status, condition.reason) == ("Reachable", "UNKNOWN", "AgentAway")


def test_what_a_newer_headrace_reports_is_read_as_far_as_it_goes(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.starts = False
    name = gateway.submit()
    record = fake.clusters[name].record
    record.status.phase = 77  # pyright: ignore[reportAttributeAccessIssue]
    record.status.conditions.add(type=78, status=79)
    record.spec.options["new"].SetInParent()
    fake.clusters[name].add_event(8000, "something new", 81)  # pyright: ignore[reportArgumentType]
    report = gateway.get_cluster(name)
    assert report.status is ClusterStatus.PENDING
    assert [(one.type, one.status) for one in report.conditions[1:]] == [("Unknown78", "UNKNOWN_79")]
    assert report.options == {}
    event = gateway.events(name)[-1]
    assert (event.type, event.severity, event.message) == ("Unknown8000", "unknown_81", "something new")


def test_reports_of_running_clusters_are_enough_to_connect(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        report = gateway.get_cluster(cluster.name)
        assert report.status is ClusterStatus.RUNNING
        assert report.dashboard_link == f"{fake.address}/clusters/{cluster.name}/status"
        assert report.scheduler_address == cluster.scheduler_address
        with Client(report.scheduler_address, security=report.security) as client:
            assert client.scheduler_info()["type"] == "Scheduler"


def test_listing_by_status(gateway: Gateway) -> None:
    stopped, running = gateway.submit(), gateway.submit()
    gateway.stop_cluster(stopped)
    assert [report.name for report in gateway.list_clusters()] == [running]
    assert [report.name for report in gateway.list_clusters("stopped")] == [stopped]
    both = gateway.list_clusters(["STOPPED", ClusterStatus.RUNNING, "pending"])
    assert [report.name for report in both] == [running, stopped]
    with pytest.raises(ValueError, match="'gone' is none of pending, running"):
        gateway.list_clusters("gone")


def test_lists_are_short_unless_asked_otherwise(fake: FakeHeadrace, gateway: Gateway) -> None:
    gateway.submit(worker_cores=4)
    assert [report.options for report in gateway.list_clusters()] == [{}]
    assert [report.options for report in gateway.list_clusters(full=True)] == [{"worker_cores": 4}]
    assert [request.view for request in fake.requests_of(pb.ListClustersRequest)] == [
        pb.CLUSTER_VIEW_BASIC,
        pb.CLUSTER_VIEW_FULL,
    ]


def test_listing_by_tags_and_profile(gateway: Gateway) -> None:
    tagged, gpu = gateway.submit(tags={"team": "x", "a": "b"}), gateway.submit(profile="gpu")
    assert [report.name for report in gateway.list_clusters(tags={"team": "x"})] == [tagged]
    assert [report.name for report in gateway.list_clusters(profile="gpu")] == [gpu]


def test_an_ended_cluster_still_has_a_report(gateway: Gateway) -> None:
    name = gateway.submit()
    gateway.stop_cluster(name)
    gateway.stop_cluster(name)
    report = gateway.get_cluster(name)
    assert (report.status, report.reason) == (ClusterStatus.STOPPED, "USER")
    assert report.stop_time is not None
    assert report.stop_time >= report.start_time


def test_stop_all(gateway: Gateway, bob: Gateway) -> None:
    names = {gateway.submit(), gateway.submit()}
    kept = bob.submit()
    assert set(gateway.stop_all()) == names
    assert gateway.list_clusters() == []
    assert [report.name for report in bob.list_clusters()] == [kept]


def test_clusters_that_cannot_be_stopped_are_named(fake: FakeHeadrace, gateway: Gateway) -> None:
    gone = gateway.submit()

    def answer(request: Any, context: Any) -> pb.BatchStopClustersResponse:
        failure = pb.BatchStopFailure(name=f"clusters/{gone}", message="the store is away")
        return pb.BatchStopClustersResponse(stopped=["clusters/other"], failures=[failure])

    fake.stop_server()
    fake.BatchStopClusters = answer
    fake.restart_server()
    with pytest.raises(errors.StopFailed, match=f"1 of 2 clusters could not be stopped: {gone}: the store") as raised:
        gateway.stop_all()
    assert (raised.value.stopped, raised.value.failures) == (("other",), {gone: "the store is away"})


def test_an_ended_cluster_can_be_deleted(gateway: Gateway) -> None:
    name = gateway.submit()
    with pytest.raises(errors.ClusterNotEnded, match="has not ended"):
        gateway.delete_cluster(name)
    gateway.stop_cluster(name)
    gateway.delete_cluster(name)
    with pytest.raises(errors.ClusterNotFound):
        gateway.get_cluster(name)


def test_names_of_ones_own(gateway: Gateway) -> None:
    name = gateway.submit(name="mine")
    assert gateway.submit(name="mine") == name
    assert gateway.get_cluster("mine").name == name
    gateway.scale_cluster("mine", 3)
    assert len(gateway.workers("mine")) == 3
    gateway.stop_cluster("mine")
    assert gateway.submit(name="mine") != name


def test_somebody_elses_cluster_is_not_there(gateway: Gateway, bob: Gateway) -> None:
    name = gateway.submit()
    for forbidden in (bob.get_cluster, bob.stop_cluster, bob.connect, bob.events, bob.workers, bob.logs):
        with pytest.raises(ValueError, match=name):
            forbidden(name)


def test_scale_and_adapt(fake: FakeHeadrace, gateway: Gateway) -> None:
    name = gateway.submit(worker_groups=[{"name": "default"}, {"name": "big", "options": {"worker_cores": 8}}])
    default, big = fake.clusters[name].record.spec.worker_groups
    assert big.options["worker_cores"].int_value == 8
    gateway.scale_cluster(name, 2)
    gateway.adapt_cluster(name, minimum=1, maximum=4, group="big")
    assert (default.size, big.adapt.minimum, big.adapt.maximum) == (2, 1, 4)
    gateway.adapt_cluster(name, group="big")
    assert not big.adapt.HasField("maximum")
    assert gateway.get_cluster(name).worker_groups[1].adapt == (0, None)
    gateway.adapt_cluster(name, active=False, group="big")
    assert not big.HasField("adapt")


def test_tags_lifetime_and_shares_can_be_changed(gateway: Gateway) -> None:
    share = Share("users/bob", frozenset({Right.CLUSTER_CONNECT, Right.CLUSTER_SCALE}), 2e9)
    name = gateway.submit(tags={"a": "b"}, lifetime="8h", shares=[share])
    report = gateway.get_cluster(name)
    assert (report.tags, report.lifetime, report.shares) == ({"a": "b"}, timedelta(hours=8), (share,))
    gateway.update_cluster(name, tags={"c": "d"})
    report = gateway.get_cluster(name)
    assert (report.tags, report.lifetime, report.shares) == ({"c": "d"}, timedelta(hours=8), (share,))
    gateway.update_cluster(name, lifetime=math.inf, shares=[])
    report = gateway.get_cluster(name)
    assert (report.tags, report.lifetime, report.shares) == ({"c": "d"}, None, ())
    gateway.update_cluster(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lifetime": "soon"}, "lifetime: "),
        ({"lifetime": 0}, "lifetime: must be more than 0 s"),
        ({"lifetime": timedelta(-1)}, "lifetime: must be more than 0 s"),
        ({"shares": [Share("users/bob", frozenset({Right.CLUSTER_MANAGE}))]}, "shares: .* can be shared"),
        ({"shares": [Share("users/bob", frozenset())]}, "shares: .* can be shared"),
    ],
)
def test_changes_that_make_no_sense_are_refused_at_once(
    fake: FakeHeadrace, gateway: Gateway, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidRequest, match=message):
        gateway.update_cluster("c", **change)
    assert fake.calls == []


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


def test_worker_groups_are_added_and_removed(fake: FakeHeadrace, gateway: Gateway) -> None:
    name = gateway.submit()
    fake.fail("UpdateCluster", errors.StaleEtag("somebody else was faster"))
    gateway.add_worker_group(name, "big", 1, adapt=(1, None), worker_cores=8)
    _, big = gateway.get_cluster(name).worker_groups
    assert (big.name, big.size, big.adapt, big.options) == ("big", 1, (1, None), {"worker_cores": 8})
    with pytest.raises(errors.InvalidRequest, match="already has a worker group 'big'"):
        gateway.add_worker_group(name, "big")
    gateway.remove_worker_group(name, "big")
    assert [group.name for group in gateway.get_cluster(name).worker_groups] == ["default"]
    with pytest.raises(errors.GroupNotFound, match="no worker group 'big'"):
        gateway.remove_worker_group(name, "big")


@pytest.mark.parametrize("count", [-1, 10**9, 10**30, 1.5, "2", True, None])
def test_counts_that_make_no_sense_are_refused_at_once(fake: FakeHeadrace, gateway: Gateway, count: Any) -> None:
    for call in (
        lambda: gateway.scale_cluster("c", count),
        lambda: gateway.adapt_cluster("c", minimum=count if count is not None else -1),
        lambda: gateway.submit(worker_groups={"default": count}),
    ):
        with pytest.raises(errors.InvalidRequest, match=r"n: |minimum: |worker_groups"):
            call()
    assert fake.calls == []


def test_more_than_allowed_is_clipped_with_a_warning(fake: FakeHeadrace, gateway: Gateway) -> None:
    name = gateway.submit()
    with pytest.warns(GatewayWarning, match=f"cluster {name} gets 8 instead of 9 workers in group 'default'"):
        gateway.scale_cluster(name, 9)
    with pytest.warns(GatewayWarning, match="gets 0 to 8 workers instead of 0 to 500 workers"):
        gateway.adapt_cluster(name, maximum=500)
    with pytest.warns(GatewayWarning, match="gets 8 to 8 workers instead of 200 to 300 workers"):
        gateway.adapt_cluster(name, minimum=200, maximum=300)
    gateway.adapt_cluster(name)
    gateway.scale_cluster(name, 0)


def test_more_than_allowed_is_refused_where_administrators_want_that(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.rejects = True
    name = gateway.submit()
    with pytest.raises(errors.QuotaExceeded, match="users/ann may have 8 workers"):
        gateway.scale_cluster(name, 9)
    with pytest.raises(errors.InvalidRequest, match="maximum: must be at least minimum 3"):
        gateway.adapt_cluster(name, minimum=3, maximum=2)
    with pytest.raises(errors.GroupNotFound, match="'none'"):
        gateway.scale_cluster(name, 1, group="none")


def test_what_numpy_calls_a_number_is_one(fake: FakeHeadrace, gateway: Gateway) -> None:
    numpy = pytest.importorskip("numpy")
    name = gateway.submit(worker_cores=numpy.int64(3), spot=numpy.float32(0.5))
    gateway.scale_cluster(name, numpy.int64(2))
    assert gateway.get_cluster(name).options == {"worker_cores": 3, "spot": 0.5}


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


def test_events_workers_and_logs(gateway: Gateway) -> None:
    name = gateway.submit(worker_groups={"default": 7})
    event, *_ = gateway.events(name)
    assert (event.message, event.severity, event.cluster) == ("the scheduler is being started", "info", name)
    assert event.type == "SchedulerStarting"
    workers = gateway.workers(name)
    assert len(workers) == 7
    assert (workers[0].name, workers[0].group, workers[0].state) == ("default-0-abcdef", "default", "running")
    assert (workers[0].host, workers[0].cores, workers[0].memory_bytes, workers[0].exit) == ("node-1", 2, 2 << 30, None)
    assert gateway.logs(name)["scheduler"] == "scheduler line 0\nscheduler line 1\nscheduler line 2\n"
    assert list(gateway.logs(name, "scheduler", tail=1)) == ["scheduler"]
    assert list(gateway.follow_logs(name, "scheduler", tail=1)) == [
        ("scheduler", "scheduler line 2\n"),
        ("scheduler", "later\n"),
    ]
    with pytest.raises(ValueError, match="tail: must be 1 to"):
        gateway.logs(name, tail=0)


def test_who_and_which_versions(gateway: Gateway) -> None:
    user = gateway.whoami()
    assert (user.name, user.groups, user.roles) == ("ann", ("people",), ("user",))
    assert gateway.get_versions() == {"server": {"version": "0.1.0"}, "client": {"version": __version__}}


def test_what_the_server_offers(configured: None) -> None:
    with dask.config.set({"headrace.auth.kwargs": {"token": "a wrong one"}}), Gateway() as gateway:
        info = gateway.server_info()
    assert [(one.method, one.credential) for one in info.login_methods] == [
        ("api-token", "token"),
        ("password", "password"),
    ]
    assert info.features == {"api_tokens", "dashboard_links"}


def test_a_worker_has_the_cause_of_its_exit(fake: FakeHeadrace) -> None:
    from headrace import Worker

    worker = cluster_pb2.Worker(name="clusters/c/workers/w", state=cluster_pb2.WORKER_STATE_FAILED)
    worker.exit.cause, worker.exit.exit_code = cluster_pb2.EXIT_CAUSE_OUT_OF_MEMORY, -9
    found = Worker.from_proto(worker)
    assert found.exit is not None
    assert (found.state, found.exit.cause, found.exit.exit_code) == ("failed", "out_of_memory", -9)


def test_what_the_platform_does_with_workers_is_in_words(fake: FakeHeadrace) -> None:
    from headrace import ClusterEvent, Worker

    leaving = cluster_pb2.Worker(name="clusters/c/workers/w", leaving=cluster_pb2.EXIT_CAUSE_PREEMPTED)
    waiting = cluster_pb2.Worker(name="clusters/c/workers/w", wait_reason=cluster_pb2.WAIT_REASON_NODE_COMING)
    found = [Worker.from_proto(worker) for worker in (leaving, waiting)]
    assert [(worker.wait_reason, worker.leaving) for worker in found] == [("", "preempted"), ("node_coming", "")]
    event = cluster_pb2.ClusterEvent(
        type=cluster_pb2.EVENT_TYPE_WAITING,
        wait_reason=cluster_pb2.WAIT_REASON_UNSCHEDULABLE,
        exit_cause=cluster_pb2.EXIT_CAUSE_UNSPECIFIED,
    )
    told = ClusterEvent.from_proto(event)
    assert (told.type, told.wait_reason, told.exit_cause) == ("Waiting", "unschedulable", "")
    event.exit_cause = cluster_pb2.EXIT_CAUSE_NODE_LOST
    assert ClusterEvent.from_proto(event).exit_cause == "node_lost"


def test_a_closed_gateway_says_so(configured: None) -> None:
    gateway = Gateway()
    gateway.close()
    gateway.close()
    with pytest.raises((GatewayServerError, RuntimeError)):
        gateway.whoami()


def test_clusters_outlive_the_gateway_that_made_them(configured: None) -> None:
    with Gateway() as gateway:
        cluster = gateway.new_cluster()
    with cluster:
        assert cluster.report().status is ClusterStatus.RUNNING


def test_gateways_share_thread_and_connection_and_leave_nothing(configured: None) -> None:
    before = _io_loops()
    gateways = [Gateway() for _ in range(5)]
    assert len({gateway.loop for gateway in gateways}) == 1
    assert {gateway.whoami().name for gateway in gateways} == {"ann"}
    for gateway in gateways:
        gateway.close()
    assert _io_loops() == before


def test_a_gateway_without_references_closes_itself(configured: None) -> None:
    gateway = Gateway()
    loop: Any = gateway.loop
    gateway.whoami()
    del gateway
    gc.collect()
    assert not loop.asyncio_loop.is_running()


async def test_a_plain_gateway_works_inside_a_running_loop(configured: None) -> None:
    """As in a notebook, whose cells run on an event loop of their own."""
    with Gateway() as gateway:
        assert gateway.whoami().name == "ann"
        with gateway.new_cluster() as cluster:
            assert cluster.get_client().scheduler_info()["type"] == "Scheduler"


async def test_the_asynchronous_face(fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually) -> None:
    assert agateway.asynchronous
    assert (await agateway.whoami()).name == "ann"
    name = await agateway.submit(name="mine")
    assert [report.name for report in await agateway.list_clusters()] == [name]
    assert (await agateway.get_cluster("mine")).name == name
    await agateway.scale_cluster(name, 2)
    await agateway.adapt_cluster(name, maximum=3)
    assert len(await agateway.workers(name)) == 2
    assert (await agateway.events(name))[0].cluster == name
    assert "scheduler" in await agateway.logs(name)
    assert [piece async for piece in agateway.follow_logs(name, "scheduler", tail=1)][-1][1] == "later\n"
    assert (await agateway.cluster_options()).worker_cores == 2
    assert (await agateway.get_versions())["server"] == {"version": "0.1.0"}
    await agateway.stop_cluster(name)
    assert await agateway.stop_all() == []
    cluster = await agateway.new_cluster()
    async with await agateway.connect(cluster.name) as same:
        assert isinstance(same, GatewayCluster)
        assert same.name == cluster.name
    await cluster.close()
    assert fake.clusters[cluster.name].record.spec.stop


async def test_asynchronous_calls_run_at_once(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    names = await asyncio.gather(*(agateway.submit() for _ in range(20)))
    assert set(names) == set(fake.clusters)


async def test_await_and_close(configured: None) -> None:
    gateway = await Gateway(asynchronous=True)
    assert (await gateway.whoami()).name == "ann"
    await gateway.close()
    await gateway.close()
    with pytest.raises(TypeError, match="async with"), Gateway(asynchronous=True):
        pass


def _io_loops() -> int:
    return sum(thread.name == "IO loop" for thread in threading.enumerate())
