"""What the settings of a profile say of images and places when a cluster is created, holds for its life."""

from __future__ import annotations

from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.emptying import empty
from tests.controller.running import Site

from headrace.option_types import Text
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_controller.options.catalogue import Option

IMAGE = Option(key="image", label="", description="", type=Text(), default="", per_group=True)


def images(site: Site, cluster: str) -> list[object]:
    """Return the image of each process of a cluster."""
    return [spec.settings.get("image") for key, spec in site.machine.specs.items() if f"clusters/{key[0]}" == cluster]


async def test_new_workers_have_the_image_with_which_their_cluster_was_created(
    site: Site, redis: Redis, eventually: Eventually
) -> None:
    site.machine.options = [IMAGE]
    site.machine.fixed_options = {"scheduler": {"image": "dask:1"}, "worker": {"image": "dask:1"}}
    ann = await (await site.replica()).user("ann")
    old = await ann.create()
    await ann.until(old.name, "RUNNING")

    site.machine.fixed_options = {"scheduler": {"image": "dask:2"}, "worker": {"image": "dask:2"}}
    await ann.scale(old.name, 1)
    await ann.until(old.name, "RUNNING", running=1)
    new = await ann.create()
    await ann.scale(new.name, 1)
    await ann.until(new.name, "RUNNING", running=1)
    own = await ann.create({"image": "own:3"})
    await ann.scale(own.name, 1)
    await ann.until(own.name, "RUNNING", running=1)
    assert [images(site, made.name) for made in (old, new, own)] == [["dask:1"] * 2, ["dask:2"] * 2, ["own:3"] * 2]

    await site.stop(site.replicas[0])
    await empty(redis)
    ann = await (await site.replica("b")).user("ann")

    async def adopted() -> bool:
        listed = await ann.call("ListClusters", pb.ListClustersRequest())
        return old.name in {one.name for one in listed.clusters}

    await eventually(adopted)
    await ann.scale(old.name, 2)
    await eventually(lambda: images(site, old.name) == ["dask:1"] * 3)


def places(site: Site, cluster: str) -> list[object]:
    """Return the namespace of each process of a cluster."""
    found = [(key, spec) for key, spec in site.machine.specs.items() if f"clusters/{key[0]}" == cluster]
    return [spec.settings.get("namespace") for _, spec in found]


async def test_new_workers_are_where_their_cluster_was_created(
    site: Site, redis: Redis, eventually: Eventually
) -> None:
    site.machine.fixed_options = {"scheduler": {"namespace": "old"}, "worker": {"namespace": "old"}}
    ann = await (await site.replica()).user("ann")
    cluster = (await ann.create()).name
    await ann.until(cluster, "RUNNING")
    site.machine.fixed_options = {"scheduler": {"namespace": "new"}, "worker": {"namespace": "new"}}
    await ann.scale(cluster, 1)
    await ann.until(cluster, "RUNNING", running=1)
    assert places(site, cluster) == ["old"] * 2

    await site.stop(site.replicas[0])
    await empty(redis)
    ann = await (await site.replica("b")).user("ann")

    async def adopted() -> bool:
        listed = await ann.call("ListClusters", pb.ListClustersRequest())
        return cluster in {one.name for one in listed.clusters}

    await eventually(adopted)
    await ann.scale(cluster, 2)
    await eventually(lambda: places(site, cluster) == ["old"] * 3)


async def test_a_cluster_whose_processes_cannot_be_looked_for_does_not_end_without_them(
    site: Site, eventually: Eventually
) -> None:
    ann = await (await site.replica()).user("ann")
    cluster = (await ann.create()).name
    await ann.until(cluster, "RUNNING")
    await site.stop(site.replicas[0])
    uid = cluster.removeprefix("clusters/")
    site.machine.unseen.add(uid)
    ann = await (await site.replica("b")).user("ann")
    await ann.stop(cluster)

    async def told() -> bool:
        found = await ann.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=cluster))
        return any("cannot see this cluster's processes" in event.message for event in found.cluster_events)

    await eventually(told)
    assert (await ann.get(cluster)).status.phase == cluster_pb2.PHASE_RUNNING
    assert site.machine.running(uid)
    site.machine.unseen.clear()
    await ann.until(cluster, "STOPPED")
    assert not site.machine.running(uid)
