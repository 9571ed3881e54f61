"""What is believed of an API server's review of a token."""

from __future__ import annotations

import pytest

from headrace_chassis.identity.service_account import PodAccount, reviewed, split

NAME, UID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid"
USER = "system:serviceaccount:n:a"


def test_a_service_account_of_one_pod_is_that_pod() -> None:
    assert reviewed(USER, {NAME: ["p"], UID: ["u"]}) == PodAccount("n", "a", "p", "u")


@pytest.mark.parametrize(
    ("user", "extra"),
    [
        (USER, {}),
        (USER, {NAME: ["p"]}),
        (USER, {NAME: ["p", "q"], UID: ["u"]}),
        (USER, {NAME: ["p"], UID: ["u", "v"]}),
        (USER, {NAME: [""], UID: ["u"]}),
        (USER, {NAME: [], UID: []}),
        ("kubernetes-admin", {NAME: ["p"], UID: ["u"]}),
        ("system:serviceaccount:n", {NAME: ["p"], UID: ["u"]}),
        ("", {NAME: ["p"], UID: ["u"]}),
    ],
)
def test_anybody_else_is_nobody(user: str, extra: dict[str, list[str]]) -> None:
    assert reviewed(user, extra) is None


@pytest.mark.parametrize("subject", [None, 7, ["system:serviceaccount:n:a"], "system:serviceaccount::a", "n:a"])
def test_a_subject_of_another_kind_is_no_service_account(subject: object) -> None:
    assert split(subject) is None
