"""A connection of Dask that outlives its TCP connections. The protocol: docs/adr/0014-resumable-connections.md."""
