"""Redis: the connection, scripts, keys and leases."""
