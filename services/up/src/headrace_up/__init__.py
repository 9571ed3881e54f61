"""The whole system on one machine: what `headrace up` runs."""
