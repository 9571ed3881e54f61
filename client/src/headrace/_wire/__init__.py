"""Calls to headrace over gRPC: channels, connections, retries, errors. Nothing here needs Dask."""
