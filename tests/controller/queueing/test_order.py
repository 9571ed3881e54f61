"""The order of those that wait, in memory."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controller.builders import new_cluster

from headrace_controller.model import Cluster, Phase, Queued, Status
from headrace_controller.plan.queueing import rounded
from headrace_controller.queueing.order import Order


def waiting(number: int, turn: float, subject: str = "deployment") -> Cluster:
    """A cluster that began to wait at the time of its number."""
    queued = Queued(since=number, turn=turn, subject=subject, resource="clusters", most=1, used=1, asked=1)
    return replace(new_cluster(f"c{number}"), status=Status(phase=Phase.QUEUED), queued=queued)


class People:
    """Who wait, and the place that each was told last."""

    def __init__(self) -> None:
        self.order = Order(clock=lambda: 0.0)
        self.told: dict[int, int] = {}
        self.there: dict[int, Cluster] = {}

    def come(self, turn: float, subject: str) -> None:
        number = len(self.told)
        self.there[number] = waiting(number, turn, subject)
        self.order.added(self.there[number])
        self.tell(number)

    def leave(self, which: int) -> None:
        if self.there:
            self.order.removed(self.there.pop(list(self.there)[which % len(self.there)]))

    def tell(self, number: int) -> None:
        place = self.order.place(self.there[number])
        assert place is not None
        self.told[number] = rounded(place.before)

    def check(self) -> None:
        for cluster in list(self.order.moved()):
            self.tell(int(cluster[1:]))
        assert list(self.order.moved()) == []
        firsts: list[tuple[float, str, str]] = []
        for subject in SUBJECTS:
            turns = [(q.turn, one.id, n) for n, one in self.there.items() if (q := one.queued) and q.subject == subject]
            assert [self.told[n] for _, _, n in sorted(turns)] == [rounded(n) for n in range(len(turns))]
            firsts += [(*min(turns)[:2], subject)] if turns else []
        assert self.order.subjects() == [subject for *_, subject in sorted(firsts)]


Changes = tuple[list[tuple[float, str]], list[int]]

MOST = 120  # a place beyond 100 is rounded to 200
SUBJECTS = ("deployment", "users/ann")
CHANGES = st.tuples(
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(SUBJECTS)), max_size=20),  # who comes
    st.lists(st.integers(0, 10_000), max_size=20),  # who leaves
)


@settings(max_examples=50)
@given(st.integers(0, MOST), st.lists(CHANGES, max_size=8))
def test_those_with_another_rounded_place_are_told(at_first: int, changes: list[Changes]) -> None:
    people = People()
    for n in range(at_first):
        people.come(n / MOST, "deployment")
    people.check()
    for comers, leavers in changes:
        for turn, subject in comers:
            people.come(turn, subject)
        for leaver in leavers:
            people.leave(leaver)
        people.check()


@given(st.integers(0, 20), st.floats(-1, 21), st.floats(-1, 21), st.sets(st.integers(0, 20)))
def test_those_that_have_waited_for_long_are_found(number: int, since: float, than: float, left: set[int]) -> None:
    order = Order(clock=lambda: 0.0)
    clusters = {n: waiting(n, -n) for n in range(number)}
    for cluster in clusters.values():
        order.added(cluster)
    for n in left & clusters.keys():
        order.removed(clusters.pop(n))
    assert order.older(since, than) == [one.id for n, one in clusters.items() if since < n <= than]


def test_the_longest_wait_is_that_of_the_first_who_came() -> None:
    order = Order(clock=lambda: 100.0)
    assert order.longest() == 0
    first, second = waiting(30, turn=2), waiting(60, turn=1)
    order.added(second)
    order.added(first)
    assert order.longest() == 70
    order.removed(first)
    assert order.longest() == 40
    order.added(waiting(200, turn=3))
    order.removed(second)
    assert order.longest() == 0
