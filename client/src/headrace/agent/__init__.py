"""The agent: runs inside every Dask process that headrace starts, unseen by its user."""
