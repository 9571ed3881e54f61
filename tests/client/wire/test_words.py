"""Enums as words, also those of a newer headrace."""

from __future__ import annotations

from headrace._wire.words import condition_type, event_type, word
from headrace.v1 import cluster_pb2
from headrace.v1.enums import ConditionType, EventType


def test_a_value_is_named_without_its_prefix() -> None:
    assert word(cluster_pb2.EndReason.DESCRIPTOR, cluster_pb2.END_REASON_OUT_OF_MEMORY) == "OUT_OF_MEMORY"
    assert word(cluster_pb2.Phase.DESCRIPTOR, 0) == ""


def test_a_value_of_a_newer_headrace_has_a_word() -> None:
    assert word(cluster_pb2.Phase.DESCRIPTOR, 99) == "UNKNOWN_99"
    assert event_type(99) == "Unknown99"
    assert condition_type(99) == "Unknown99"


def test_types_of_the_contract_are_read_as_its_lists_say() -> None:
    assert [event_type(number) for number in cluster_pb2.EventType.values() if number] == list(EventType)
    assert [condition_type(number) for number in cluster_pb2.ConditionType.values() if number] == list(ConditionType)
