"""headrace on one machine: what `headrace up` runs."""
