"""The agent: it runs inside every Dask process that headrace starts, and its user never meets it."""
