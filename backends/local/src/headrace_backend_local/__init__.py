"""Processes on this machine.

A controller never starts a process of a cluster itself. The *nursery* does: a small daemon that has everything
imported, forks or spawns what is asked for, and outlives controllers. The controller's side is `LocalBackend`.
"""
