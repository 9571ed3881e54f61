"""Whose token it is that a Kubernetes API server has reviewed: logins of pods and enrolments go by it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_USER = "system:serviceaccount:"
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"


@dataclass(frozen=True, slots=True)
class PodAccount:
    """A service account and its pod, as the API server vouches for them."""

    namespace: str
    service_account: str
    pod: str
    pod_uid: str


def reviewed(username: str, extra: Mapping[str, Sequence[str]]) -> PodAccount | None:
    """Return whom the user of a TokenReview is, or None if that is no service account of one pod."""
    account, names, uids = split(username), extra.get(_POD_NAME, ()), extra.get(_POD_UID, ())
    if account is None or len(names) != 1 or len(uids) != 1 or not names[0] or not uids[0]:
        return None
    return PodAccount(*account, names[0], uids[0])


def split(subject: object) -> tuple[str, str] | None:
    """Return namespace and name of ``system:serviceaccount:<namespace>:<name>``; None for anything else."""
    if not isinstance(subject, str) or not subject.startswith(_USER):
        return None
    namespace, _, name = subject.removeprefix(_USER).partition(":")
    return (namespace, name) if namespace and name else None
