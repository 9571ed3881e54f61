"""The chart's authority and its successors, over decades."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_backend_kubernetes.installation.authorities import SIGNS_UNTIL, Authorities, is_good, issue

NOW = datetime.now(UTC)
NONE = Authorities(())


def test_the_first_authority_is_made_once() -> None:
    first = NONE.renewed("headrace", NOW)
    assert len(first.trusted) == 1
    assert first.renewed("headrace", NOW + timedelta(days=365)) == first


def test_what_is_saved_is_loaded() -> None:
    both = NONE.renewed("headrace", NOW).renewed("headrace", NOW + timedelta(days=3000))
    loaded = Authorities.load(both.certificates, both.keys)
    assert loaded.certificates == both.certificates
    assert loaded.keys == both.keys


def test_damaged_keys_are_refused_and_not_replaced() -> None:
    first = NONE.renewed("headrace", NOW)
    with pytest.raises(ValueError, match="shorter"):
        Authorities.load(first.certificates, b"")


def test_a_successor_is_trusted_before_it_signs() -> None:
    first = NONE.renewed("headrace", NOW)
    later = NOW + timedelta(days=3000)  # the successor is new now
    both = first.renewed("headrace", later)
    assert len(both.trusted) == 2
    assert both.signing(later) == first.trusted[0]
    assert both.signing(first.trusted[0].expire_time - SIGNS_UNTIL + timedelta(days=1)) == both.trusted[1]


def test_an_authority_that_has_expired_is_trusted_no_longer() -> None:
    first = NONE.renewed("headrace", NOW)
    both = first.renewed("headrace", NOW + timedelta(days=3000))
    after = both.renewed("headrace", first.trusted[0].expire_time + timedelta(days=1))
    assert first.trusted[0] not in after.trusted


@settings(max_examples=10)
@given(st.lists(st.integers(min_value=1, max_value=250), min_size=1, max_size=60))
def test_whenever_the_job_runs_the_authority_that_signs_was_trusted_a_run_before(days: list[int]) -> None:
    now, authorities = NOW, NONE.renewed("headrace", NOW)
    for number in days:
        before, now = authorities, now + timedelta(days=number)
        authorities = before.renewed("headrace", now)
        assert authorities.signing(now) in before.trusted
        assert authorities.signing(now).expire_time > now


def test_a_certificate_is_good_for_its_names_its_authority_and_its_time() -> None:
    authorities, others = (NONE.renewed("headrace", NOW) for _ in range(2))
    names = ("headrace-auth", "headrace-auth.dask.svc")
    leaf = issue(authorities, names[0], names, days=30)
    soon = NOW + timedelta(days=20)
    assert is_good(leaf.cert_pem, names, authorities, soon)
    assert is_good(leaf.cert_pem, tuple(reversed(names)), authorities, soon)
    assert not is_good(leaf.cert_pem, names[:1], authorities, soon)
    assert not is_good(leaf.cert_pem, names, others, soon)
    assert not is_good(leaf.cert_pem, names, authorities, NOW + timedelta(days=31))
    assert not is_good(b"", names, authorities, soon)
    assert not is_good(authorities.certificates, names, authorities, soon)
