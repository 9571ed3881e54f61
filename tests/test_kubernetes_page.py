"""The sentences that docs/kubernetes.md explains are those that headrace prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.backends.kubernetes.pods import decoded, recorded

from headrace.v1.enums import ExitCause, WaitReason
from headrace_backend_kubernetes.endings import container_ending
from headrace_backend_kubernetes.faults import Unreachable, backend_error
from headrace_controller.plan.sentences import describe_end, describe_wait

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
TROUBLES = PAGE.partition("## When something is wrong")[2]


@pytest.mark.parametrize("reason", [r for r in WaitReason if r is not WaitReason.STARTING])
def test_why_a_scheduler_waits_is_explained(reason: WaitReason) -> None:
    assert f"`The scheduler waits {describe_wait(reason)}" in TROUBLES


@pytest.mark.parametrize(
    "cause",
    [
        *(ExitCause.IMAGE_UNAVAILABLE, ExitCause.QUOTA_EXCEEDED, ExitCause.REFUSED, ExitCause.EVICTED),
        *(ExitCause.PREEMPTED, ExitCause.NODE_LOST, ExitCause.OUT_OF_MEMORY, ExitCause.DELETED),
    ],
)
def test_why_a_process_ended_is_explained(cause: ExitCause) -> None:
    assert describe_end(cause) in TROUBLES


def test_an_image_without_headrace_is_explained() -> None:
    said = container_ending(decoded(recorded("no-headrace"))).message
    before, image, after = said.partition("localhost/plain-dask:test")
    assert image
    assert f"`{before}...{after[: after.index('with ')]}with ...`" in TROUBLES


def test_an_api_server_that_is_away_is_explained() -> None:
    said = str(backend_error("pod p cannot be created", Unreachable(TimeoutError())))
    assert "the Kubernetes API server does not answer" in said
    assert "`the Kubernetes API server does not answer`" in TROUBLES


@pytest.mark.parametrize(
    ("sentence", "source"),
    [
        ("Waiting for it to report.", "services/controller/src/headrace_controller/plan/scheduler.py"),
        ("The cluster was not usable within ", "services/controller/src/headrace_controller/plan/scheduler.py"),
        ("none is offered to this pod: ", "client/src/headrace/_target/target.py"),
        ("this pod has no service account token", "client/src/headrace/_target/auth.py"),
    ],
)
def test_other_sentences_are_in_the_code(sentence: str, source: str) -> None:
    assert sentence in TROUBLES
    assert sentence in (ROOT / source).read_text("utf-8")
