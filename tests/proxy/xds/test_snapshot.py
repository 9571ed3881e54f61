"""Properties of snapshots and of what is sent to bring an Envoy to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from tests.proxy.conftest import ANYWHERE
from tests.proxy.fake_envoy import DeltaResponse

from headrace_chassis.routes import Route, RouteChange
from headrace_proxy.xds.node_session import NodeSession, Published
from headrace_proxy.xds.snapshot import Resource, Snapshot
from headrace_proxy.xds.upstream import UpstreamTemplate

TEMPLATE = UpstreamTemplate.create("clusters.test", 100, ANYWHERE)

clusters = st.sampled_from([f"c{n}" for n in range(6)])
ports = st.integers(1, 4)
addresses = st.one_of(st.just(""), st.just("nonsense"), ports.map(lambda port: f"127.0.0.1:{port}"))
routes = st.builds(Route, cluster=clusters, scheduler_address=addresses, dashboard_address=addresses)
changes = st.lists(routes, max_size=4, unique_by=lambda route: route.cluster)
removals = st.lists(clusters, max_size=2)
steps = st.builds(RouteChange, version=st.just("v"), snapshot=st.booleans(), routes=changes, removed=removals)


def build(known: Iterable[Route], template: UpstreamTemplate = TEMPLATE) -> Snapshot:
    return Snapshot(template).updated("v", known)


def content(snapshot: Snapshot) -> tuple[Mapping[str, Resource], Mapping[str, str]]:
    return snapshot.resources, snapshot.faults


@given(st.lists(steps, max_size=8))
def test_steps_lead_to_the_snapshot_of_their_routes(sequence: list[RouteChange]) -> None:
    known: Mapping[str, Route] = {}
    snapshot = Snapshot(TEMPLATE)
    for step in sequence:
        before, known = known, step.apply(known)
        snapshot = snapshot.updated(step.version, step.routes, before.keys() - known.keys())
    assert content(snapshot) == content(build(known.values()))


@given(st.lists(routes, unique_by=lambda route: route.cluster))
def test_every_route_is_served_or_has_a_fault_or_no_address_yet(known: list[Route]) -> None:
    snapshot = build(known)
    served = {TEMPLATE.cluster_of(name) for name in snapshot.resources}
    waiting = {route.cluster for route in known if not route.scheduler_address}
    assert served | set(snapshot.faults) | waiting == {route.cluster for route in known}
    assert not served & set(snapshot.faults)


@given(routes)
def test_a_version_is_a_hash_of_the_content(route: Route) -> None:
    again = Snapshot(TEMPLATE).updated("other", [route])
    elsewhere = build([route], UpstreamTemplate.create("clusters.test", 200, ANYWHERE))
    for name, resource in build([route]).resources.items():
        assert again.resources[name].version == resource.version
        assert elsewhere.resources[name].version != resource.version


@given(st.lists(steps, min_size=1, max_size=10), st.data())
def test_an_envoy_ends_with_the_last_snapshot_whatever_happens_on_the_way(
    sequence: list[RouteChange], data: st.DataObject
) -> None:
    """Acknowledgements, rejections with and without names, reconnects, in any order."""
    model = _Envoy()
    known: Mapping[str, Route] = {}
    published = Published(0, Snapshot(TEMPLATE))
    for serial, step in enumerate(sequence, 1):
        known = step.apply(known)
        published = Published(serial, build(known.values()))
        for _ in range(data.draw(st.integers(0, 3))):
            model.read(published)
            model.answer(data.draw(st.sampled_from(["use", "reject one", "reject all", "reconnect"])))
    while model.session.in_use < published.serial:
        model.read(published)
        model.answer("use")
    wanted = {name: resource.version for name, resource in published.snapshot.resources.items()}
    rejected = model.session.rejected
    assert {k: v for k, v in model.has.items() if k not in rejected} == {
        k: v for k, v in wanted.items() if k not in rejected
    }
    assert all(wanted[name] == version for name, version in rejected.items())


class _Envoy:
    """What an Envoy does with responses, without the network."""

    def __init__(self) -> None:
        self.has: dict[str, str] = {}
        self.inbox: list[DeltaResponse] = []
        self.session = NodeSession({})

    def read(self, published: Published) -> None:
        self.inbox += cast("Sequence[DeltaResponse]", self.session.respond(published))

    def answer(self, how: str) -> None:
        if how == "reconnect":
            self.inbox, self.session = [], NodeSession(dict(self.has))
        elif self.inbox:
            response = self.inbox.pop(0)
            rejected = [] if how == "use" else [r.name for r in response.resources[:1]]
            self._apply(response, rejected)
            if how == "use":
                self.session.acknowledge(response.nonce)
            else:
                self.session.reject(response.nonce, f"bad: {rejected}" if how == "reject one" else "bad")

    def _apply(self, response: DeltaResponse, rejected: Sequence[str]) -> None:
        for name in response.removed_resources:
            self.has.pop(name, None)
        self.has.update((r.name, r.version) for r in response.resources if r.name not in rejected)
