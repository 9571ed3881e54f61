"""Your own Dask clusters on a shared platform."""
