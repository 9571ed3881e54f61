"""Clusters as processes of this machine.

A controller never starts a process of a cluster itself. The *zygote* does: a small daemon that has everything imported,
forks or spawns processes, and outlives controllers. The controller's side is `LocalBackend`.
"""
