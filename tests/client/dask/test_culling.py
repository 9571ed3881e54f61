"""Before a cluster is given back, its user is told once, and can keep it."""

# pyright: reportPrivateUsage=false
# Views are methods that IPython calls, and their names begin with an underscore.

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import Gateway, GatewayCluster
from headrace._dask.culling_notices import CullingNotices
from headrace.errors import InvalidRequest, KeepRefused
from headrace.v1 import cluster_pb2
from headrace.v1 import culling_service_pb2 as pb

WARNED, WITHDRAWN = cluster_pb2.EVENT_TYPE_CULLING_WARNED, cluster_pb2.EVENT_TYPE_CULLING_WITHDRAWN
WARNING = "This cluster is stopped in 5 min because it has been <idle>."


@pytest.fixture
def cluster(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(CullingNotices, "delay_seconds", 0.0)
    with gateway.new_cluster() as made:
        yield made


@pytest.fixture
def happens(fake: FakeHeadrace, cluster: GatewayCluster) -> Callable[[str, cluster_pb2.EventType.ValueType], None]:
    def add(message: str, type_: cluster_pb2.EventType.ValueType) -> None:
        fake.add_event(fake.clusters[cluster.name], message, cluster_pb2.SEVERITY_WARNING, type_)

    return add


async def test_a_warning_is_a_line_once_and_a_row_while_it_lasts(
    cluster: GatewayCluster, happens: Any, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "headrace.culling"]

    with caplog.at_level(logging.WARNING, "headrace.culling"):
        happens(WARNING, WARNED)
        await eventually(lambda: lines() == [WARNING])
        assert "because it has been &lt;idle&gt;." in cluster._repr_html_()
        happens("", WITHDRAWN)
        await eventually(lambda: "idle" not in cluster._repr_html_())
        happens("The second one.", WARNED)
        await eventually(lambda: lines() == [WARNING, "The second one."])


async def test_what_it_costs_follows_what_is_watched(
    cluster: GatewayCluster, fake: FakeHeadrace, eventually: Eventually
) -> None:
    made = fake.clusters[cluster.name]
    made.record.status.usage.MergeFrom(cluster_pb2.ClusterUsage(cost=7, currency="EUR"))
    made.record.status.usage.as_of.GetCurrentTime()
    fake.set_phase(made, cluster_pb2.PHASE_RUNNING)
    await eventually(lambda: "cost=7.00 EUR" in repr(cluster))
    made.record.status.usage.as_of.FromSeconds(1)  # an answer that comes late
    made.record.status.usage.cost = 3
    fake.set_phase(made, cluster_pb2.PHASE_RUNNING)
    made.record.status.usage.cost = 8
    made.record.status.usage.as_of.GetCurrentTime()  # last: until then it is the late answer, whenever it is read
    fake.set_phase(made, cluster_pb2.PHASE_RUNNING)
    await eventually(lambda: "cost=7.00 EUR" not in repr(cluster))
    assert "cost=8.00 EUR" in repr(cluster)
    assert "Cost: 8.00 EUR" in cluster._repr_html_()
    assert "Cost: 8.00 EUR" in cluster._scaling_status()


async def test_of_what_happened_before_only_what_still_holds_is_shown(
    gateway: Gateway,
    cluster: GatewayCluster,
    happens: Any,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for message, type_ in [("The first one.", WARNED), ("", WITHDRAWN), (WARNING, WARNED)]:
        happens(message, type_)
    await eventually(lambda: cluster._life.notices.warning == WARNING)
    caplog.clear()
    with gateway.connect(cluster.name) as other:
        await eventually(lambda: other._life.notices.warning == WARNING)
    assert [record.getMessage() for record in caplog.records if record.name == "headrace.culling"] == [WARNING]


async def test_a_notebook_shows_the_line_below_the_cell(
    cluster: GatewayCluster, happens: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = pytest.importorskip("IPython.testing.globalipapp").start_ipython()
    monkeypatch.setattr(shell, "kernel", object(), raising=False)  # what tells a notebook from a terminal
    published: list[str] = []

    def publish(data: dict[str, str], **_: Any) -> None:
        published.append(data["text/html"])

    monkeypatch.setattr(shell.display_pub, "publish", publish)
    happens(WARNING, WARNED)
    line = "<p><strong>This cluster is stopped in 5 min because it has been &lt;idle&gt;.</strong></p>"
    await eventually(lambda: published == [line])
    happens("It is kept.", WITHDRAWN)
    await eventually(lambda: published == [line, "<p><strong>It is kept.</strong></p>"])  # in the place of the first


async def test_after_the_end_nothing_says_that_it_runs(
    cluster: GatewayCluster, fake: FakeHeadrace, happens: Any, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "headrace.culling")
    happens(WARNING, WARNED)
    await eventually(lambda: cluster._life.notices.warning == WARNING)
    made = fake.clusters[cluster.name]
    made.record.status.message = "The cluster was stopped because it has been idle for 30 min."
    fake.set_phase(made, cluster_pb2.PHASE_STOPPED)
    await eventually(lambda: f"<{cluster.name}, stopped," in repr(cluster))
    assert "<strong>Stopped</strong>" in cluster._repr_html_()
    lines = [record.getMessage() for record in caplog.records if record.name == "headrace.culling"]
    assert lines == [WARNING, made.record.status.message]


async def test_the_panel_has_a_button_that_keeps_the_cluster(
    cluster: GatewayCluster, fake: FakeHeadrace, happens: Any, eventually: Eventually
) -> None:
    pytest.importorskip("ipywidgets")
    panel: Any = cluster._widget()
    box = panel.children[0].children[1]
    text, button, _until = box.children
    assert box.layout.display == "none"
    happens(WARNING, WARNED)
    await eventually(lambda: box.layout.display == "")
    assert "&lt;idle&gt;" in text.value

    fake.fail("KeepCluster", KeepRefused("the policy allows no more"))
    button.click()
    await eventually(lambda: text.value == "the policy allows no more" and not button.disabled)

    button.click()
    await eventually(lambda: box.layout.display == "none")  # the warning is withdrawn
    assert fake.clusters[cluster.name].record.spec.keep_until_time.seconds


async def test_the_button_keeps_it_for_no_longer_than_is_allowed(
    cluster: GatewayCluster, fake: FakeHeadrace, eventually: Eventually
) -> None:
    pytest.importorskip("ipywidgets")
    panel: Any = cluster._widget()
    text, button, until = panel.children[0].children[1].children
    assert button.description == "Keep for up to 2 h"
    fake.culling.keep_seconds = 1
    button.click()
    await eventually(lambda: text.value == "the policy allows at most 1 s at once" and not button.disabled)
    fake.culling.keep_seconds = 240
    button.click()
    await eventually(lambda: until.value.startswith("Culling is put off until 2"))
    asked = [request.duration.seconds for request in fake.requests_of(pb.KeepClusterRequest)]
    assert asked == [7200, 7200, 239]


def test_a_cluster_is_kept_as_far_as_the_policy_allows(cluster: GatewayCluster, fake: FakeHeadrace) -> None:
    until = cluster.keep(hours=1.5)
    assert until == fake.clusters[cluster.name].record.spec.keep_until_time.ToDatetime(tzinfo=UTC)
    assert cluster.keep(hours=0.5) == until  # never shortens it
    with pytest.raises(KeepRefused) as caught:
        cluster.keep(hours=25)
    assert caught.value.details == {"seconds": "86400"}


@pytest.mark.parametrize("hours", [0, -1, float("nan"), float("inf"), 1e6])
def test_what_is_no_time_is_refused_before_it_is_sent(
    cluster: GatewayCluster, fake: FakeHeadrace, hours: float
) -> None:
    with pytest.raises(InvalidRequest, match="hours"):
        cluster.keep(hours)
    assert "KeepCluster" not in fake.calls
