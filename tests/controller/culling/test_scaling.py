"""Scaling to zero is what a user would ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.controller.builders import running_cluster

from headrace_controller.culling.scaling import at_zero
from headrace_controller.model import AdaptRange, Group


@pytest.mark.parametrize(
    ("group", "zero"),
    [
        (Group(size=3), Group()),
        (Group(size=2, adapt=AdaptRange(minimum=2, maximum=8)), Group(adapt=AdaptRange(minimum=0, maximum=8))),
    ],
)
def test_every_group_has_no_worker_and_adaptive_ones_may_grow_again(group: Group, zero: Group) -> None:
    cluster = replace(running_cluster(groups=[group]), targets={group.name: 2} if group.adapt else {})
    scaled = at_zero(cluster)
    assert scaled.spec.groups == (zero,)
    assert scaled.desired(zero) == 0
    assert at_zero(scaled) is scaled
