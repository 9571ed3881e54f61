"""What users see of their clusters, in the form in which tests assert it."""

from __future__ import annotations

import pytest
from tests.kubernetes.running import until

from headrace import Gateway, errors

MARKS = [
    pytest.mark.timeout(300),
    # The image's Python is another patch release than this machine's.
    pytest.mark.filterwarnings("ignore::distributed.versions.VersionMismatchWarning"),
]


def failed(gateway: Gateway, profile: str | None = None) -> errors.ClusterFailed:
    """Asks for a cluster that fails, long before its start would time out."""
    with pytest.raises(errors.ClusterFailed) as raised:
        gateway.new_cluster(profile=profile, timeout=60)
    return raised.value


def told(gateway: Gateway, cluster: str) -> dict[str, str]:
    """The latest sentence of each type of event."""
    return {event.type: event.message for event in gateway.events(cluster)}


def causes(gateway: Gateway, cluster: str) -> set[tuple[str, str]]:
    """Type and cause of events that have one."""
    return {(event.type, str(event.exit_cause)) for event in gateway.events(cluster) if event.exit_cause}


def told_of(gateway: Gateway, cluster: str, cause: str) -> str:
    """All sentences of events with this cause; "" if there are none."""
    return " ".join(event.message for event in gateway.events(cluster) if str(event.exit_cause) == cause)


def startable(gateway: Gateway, cluster: str) -> str:
    """Why processes cannot be started; "" if they can."""
    found = [c for c in gateway.get_cluster(cluster).conditions if c.type == "Startable"]
    return found[0].message if found and found[0].status == "FALSE" else ""


def until_failed(gateway: Gateway, cluster: str) -> str:
    """Waits until a cluster has failed; returns what its user hears on connecting."""
    until(lambda: gateway.get_cluster(cluster).status.name == "FAILED", f"{cluster} has failed", within=90)
    with pytest.raises(errors.GatewayClusterError) as raised:
        gateway.connect(cluster)
    return str(raised.value)


def runs(gateway: Gateway, cluster: str) -> bool:
    """Whether a cluster can be used."""
    return gateway.get_cluster(cluster).status.name == "RUNNING"
