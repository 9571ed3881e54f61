"""Every record in the memory of this replica, kept up to date by the change stream: the one cache of them."""

from headrace_controller.mirror.cluster_mirror import ClusterMirror, Handler

__all__ = ["ClusterMirror", "Handler"]
