"""Names and label values: legal whatever a name is, the same each time, and different for different names."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from headrace_backend_kubernetes.names import label_value, pod_name
from headrace_controller.backends.process import ProcessKey

NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")
keys = st.builds(ProcessKey, st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=1000))


def test_a_usual_name_can_be_read() -> None:
    assert pod_name(ProcessKey("c0123456789abcdef012", "scheduler"), 1) == "dask-c0123456789abcdef012-scheduler-1"
    assert (
        pod_name(ProcessKey("c0123456789abcdef012", "big-0-abcdef"), 12) == "dask-c0123456789abcdef012-big-0-abcdef-12"
    )
    assert label_value("ann") == "ann"
    assert label_value("ann.lee_2") == "ann.lee_2"
    assert label_value("") == ""


def test_what_does_not_fit_is_cut_and_has_a_hash() -> None:
    assert re.fullmatch(r"ann-example.org-x[a-z2-7]{12}", label_value("ann@example.org"))
    assert re.fullmatch(r"any-x[a-z2-7]{12}", label_value("天文学"))
    assert re.fullmatch(r"a{49}-x[a-z2-7]{12}", label_value("a" * 1000))
    long = pod_name(ProcessKey("c1", "group-with-a-very-long-name-" * 3 + "0-abcdef"), 1)
    assert re.fullmatch(r"dask-c1-group-with-a-very-long-name-group-with-a-x[a-z2-7]{12}", long)


@given(keys, st.integers(0, 10**9))
@example(ProcessKey("\ud800", "../../etc"), 1)
def test_a_pod_has_a_legal_name(key: ProcessKey, generation: int) -> None:
    name = pod_name(key, generation)
    assert NAME.fullmatch(name)
    assert len(name) <= 63
    assert name == pod_name(key, generation)


@given(st.text(max_size=1200))
@example("a" * 63)
@example("a" * 64)
@example("-")
@example("\ud800")
@example("ann\n")
def test_a_label_has_a_legal_value(value: str) -> None:
    assert VALUE.fullmatch(label_value(value))
    assert len(label_value(value)) <= 63


@given(st.text(max_size=70), st.text(max_size=70))
@example("ann@b", "ann b")
@example("Ann", "ann")
@example("a" * 1000, "a" * 1001)
def test_different_owners_have_different_labels(one: str, other: str) -> None:
    assert (label_value(one) == label_value(other)) == (one == other)


@given(st.text(max_size=70))
def test_nobody_can_choose_the_label_of_another(value: str) -> None:
    assert label_value(label_value(value)) == label_value(value) or label_value(value) != value
    taken = label_value(value + "@")  # a hashed value, which is legal itself
    assert label_value(taken) != taken


def test_parts_of_names_cannot_be_moved_from_one_to_another() -> None:
    names = {
        pod_name(ProcessKey("a", "b-c"), 1),
        pod_name(ProcessKey("a-b", "c"), 1),
        pod_name(ProcessKey("a", "b"), 11),
        pod_name(ProcessKey("a", "b-1"), 1),
        pod_name(ProcessKey("a", "b"), 1),
        pod_name(ProcessKey("A", "b"), 1),
    }
    assert len(names) == 6
