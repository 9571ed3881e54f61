from __future__ import annotations

import inspect

import pytest

from headrace_chassis.redis.keys import Prefix
from headrace_controller import keys as module
from headrace_controller.keys import RECORD_FIELDS, Keys
from headrace_controller.model import ClusterId, UserId
from headrace_controller.store.codec import CLUSTER_FIELDS

KEYS = Keys(Prefix("prod"))
ONE = ClusterId("c1")
ALL = [
    *KEYS.of_record(ONE, UserId("ann:b")).values(),
    KEYS.usage("users/ann"),
    KEYS.queue(),
    KEYS.queue("wants"),
    KEYS.queue_at("users/ann"),
    KEYS.queue_held("users/ann"),
    KEYS.readers(),
    KEYS.acknowledged(),
    KEYS.limit_exceptions(),
]
EXPIRING = [
    KEYS.enrolled("l1"),
    KEYS.schedulers(ONE),
    KEYS.archived(ONE),
    KEYS.archived_workers(ONE),
    KEYS.used(20_000),
    KEYS.used_by(20_000),
    KEYS.used_by(20_000, "ann"),
    KEYS.noted(ONE, "budget"),
    KEYS.observed(3),
]


def test_every_key_begins_with_the_deployments_prefix() -> None:
    assert all(key.startswith("{prod}:") for key in ALL)
    assert KEYS.lease(3) == "{prod}:lease:3"
    assert KEYS.replicas() == "{prod}:lease-replicas"
    assert KEYS.record(ONE) == "{prod}:cluster:c1"


def test_no_two_users_and_requests_meet_in_one_key() -> None:
    assert KEYS.request(UserId("a:b"), "c") != KEYS.request(UserId("a"), "b:c")
    assert KEYS.request(UserId("a%3Ab"), "c") != KEYS.request(UserId("a:b"), "c")
    assert KEYS.request(UserId("Ann Ärmel@example.org"), "").isascii()


@pytest.mark.parametrize("key", ALL)
def test_what_has_no_expiry_is_on_the_list(key: str) -> None:
    assert KEYS.permanent(key)


def test_nothing_else_is_permanent() -> None:
    for key in (KEYS.request(UserId("ann"), "r1"), *EXPIRING):
        assert not KEYS.permanent(key)
    assert not KEYS.permanent("{other}:cluster:c1")
    assert not KEYS.permanent("{prod}:clusters")


def test_the_table_has_every_key() -> None:
    documentation = inspect.getdoc(module)
    assert documentation is not None
    for key in (*ALL, KEYS.request(UserId("a"), "b"), *EXPIRING):
        assert f"``{key.removeprefix(KEYS.prefix).split(':')[0]}" in documentation


def test_what_is_read_of_a_record_is_in_it() -> None:
    assert set(CLUSTER_FIELDS) <= set(RECORD_FIELDS)
