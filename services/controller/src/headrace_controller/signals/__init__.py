"""Measurements that decide: one interface, asked of a Prometheus or of the controller's own collection."""
