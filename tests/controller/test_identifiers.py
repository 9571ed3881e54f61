"""Identifiers: DNS-safe; those of workers contain group and number."""

from __future__ import annotations

import re

import pytest

from headrace_controller.identifiers import new_cluster_id, new_worker_id, parse_worker_id


def test_ids_are_dns_labels_that_do_not_repeat() -> None:
    made = {new_cluster_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name) for name in made)


@pytest.mark.parametrize(("group", "number"), [("default", 0), ("a-b-3", 999_999_999), ("x" * 63, 1)])
def test_a_workers_id_tells_its_group_and_number(group: str, number: int) -> None:
    assert parse_worker_id(new_worker_id(group, number)) == (group, number)


@pytest.mark.parametrize("name", ["", "scheduler", "default-1", "default-x-abcdef", "Default-1-abcdef", "a-1-ABCDEF"])
def test_what_is_no_workers_id_tells_nothing(name: str) -> None:
    assert parse_worker_id(name) is None
