"""Envoy's bootstrap: everything that stays the same while it runs."""
