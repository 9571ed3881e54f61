"""What users import: `Gateway` and `GatewayCluster`, in the shape that Dask's users and tools know."""
