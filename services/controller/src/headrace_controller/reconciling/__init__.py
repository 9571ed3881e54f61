"""Brings what runs to the desired state: a queue of clusters, one step for each, and repair after missed events."""
