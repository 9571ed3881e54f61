"""Properties of snapshots and of what is sent to bring an Envoy to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.proxy.fake_envoy import DeltaResponse

from headrace_proxy.model import Address, Route, RouteStep
from headrace_proxy.xds.node_session import NodeSession, Published, open_session
from headrace_proxy.xds.snapshot import Resource, Shape, Snapshot, build

SHAPE = Shape.of("clusters.test", 100)

clusters = st.sampled_from([f"c{n}" for n in range(6)])
ports = st.integers(1, 4)
addresses = st.one_of(st.just(""), st.just("nonsense"), ports.map(lambda port: f"10.0.0.1:{port}"))
routes = st.builds(Route, cluster=clusters, scheduler_address=addresses, dashboard_address=addresses)
changes = st.lists(routes, max_size=4, unique_by=lambda route: route.cluster)
removals = st.lists(clusters, max_size=2)
steps = st.builds(RouteStep, version=st.just("v"), snapshot=st.booleans(), routes=changes, removed=removals)


def _content(snapshot: Snapshot) -> tuple[Mapping[str, Resource], Mapping[str, str]]:
    return snapshot.resources, snapshot.faulty


@given(st.lists(steps, max_size=8))
def test_steps_lead_to_the_snapshot_of_their_routes(sequence: list[RouteStep]) -> None:
    known: Mapping[str, Route] = {}
    snapshot = Snapshot(SHAPE)
    for step in sequence:
        before, known = known, step.apply(known)
        snapshot = snapshot.updated(step.version, step.routes, before.keys() - known.keys())
    assert _content(snapshot) == _content(build(SHAPE, "v", known.values()))


@given(st.lists(routes, unique_by=lambda route: route.cluster))
def test_every_route_is_served_or_has_a_fault_or_no_address_yet(known: list[Route]) -> None:
    snapshot = build(SHAPE, "v", known)
    served = {snapshot.cluster_of(name) for name in snapshot.resources}
    waiting = {route.cluster for route in known if not route.scheduler_address}
    assert served | set(snapshot.faulty) | waiting == {route.cluster for route in known}
    assert not served & set(snapshot.faulty)


@given(routes)
def test_a_version_is_a_hash_of_the_content(route: Route) -> None:
    again, elsewhere = build(SHAPE, "other", [route]), build(Shape.of("clusters.test", 200), "v", [route])
    for name, resource in build(SHAPE, "v", [route]).resources.items():
        assert again.resources[name].version == resource.version
        assert elsewhere.resources[name].version != resource.version


@given(st.text(max_size=60))
def test_any_address_is_read_or_refused(text: str) -> None:
    route = Route(cluster="c1", scheduler_address=text)
    if text and not route.fault():
        address = Address.parse(text)
        assert 0 < address.port < 65536


@given(st.lists(steps, min_size=1, max_size=10), st.data())
@settings(deadline=None)
def test_whatever_comes_between_an_envoy_ends_with_the_last_snapshot(
    sequence: list[RouteStep], data: st.DataObject
) -> None:
    """Takes, refusals with and without names, reconnects: in any order, in the end it has what it did not refuse."""
    model = _Envoy()
    known: Mapping[str, Route] = {}
    published = Published(0, Snapshot(SHAPE))
    for serial, step in enumerate(sequence, 1):
        known = step.apply(known)
        published = Published(serial, build(SHAPE, step.version, known.values()))
        for _ in range(data.draw(st.integers(0, 3))):
            model.read(published)
            model.answer(data.draw(st.sampled_from(["take", "refuse one", "refuse all", "reconnect"])))
    while model.session.in_use < published.serial:
        model.read(published)
        model.answer("take")
    wanted = {name: resource.version for name, resource in published.snapshot.resources.items()}
    refused = model.session.refused
    assert {k: v for k, v in model.has.items() if k not in refused} == {
        k: v for k, v in wanted.items() if k not in refused
    }
    assert all(wanted[name] == version for name, version in refused.items())


class _Envoy:
    """What an Envoy does with responses, without the network."""

    def __init__(self) -> None:
        self.has: dict[str, str] = {}
        self.inbox: list[DeltaResponse] = []
        self.session: NodeSession = open_session({})

    def read(self, published: Published) -> None:
        self.inbox += cast("Sequence[DeltaResponse]", self.session.respond(published))

    def answer(self, how: str) -> None:
        if how == "reconnect":
            self.inbox, self.session = [], open_session(self.has)
        elif self.inbox:
            response = self.inbox.pop(0)
            refused = [] if how == "take" else [r.name for r in response.resources[:1]]
            self._apply(response, refused)
            if how == "take":
                self.session.acknowledged(response.nonce)
            else:
                self.session.refuse(response.nonce, f"bad: {refused}" if how == "refuse one" else "bad")

    def _apply(self, response: DeltaResponse, refused: Sequence[str]) -> None:
        for name in response.removed_resources:
            self.has.pop(name, None)
        self.has.update((r.name, r.version) for r in response.resources if r.name not in refused)
